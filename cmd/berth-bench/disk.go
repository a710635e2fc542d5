package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ext4 takes several times as long to make a file for some minutes after many
// files were removed, because it passes over each number (inode) that became
// free lately. So nothing is removed before the end of a run; what takes much
// space is made empty instead.

// reclaim makes the large files below dir empty. The programs that made them
// must have ended. It is fine if dir is not there.
func reclaim(dir string) error {
	const large = 1 << 20
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil || info.Size() < large {
			return err
		}
		return os.Truncate(path, 0)
	})
}

// slowFile is the CPU time for making a file above which the file system is
// still busy with what was removed.
const slowFile = 100 * time.Microsecond

// warnOfSlowFiles makes some files and tells if that is slow.
func (b *bench) warnOfSlowFiles() error {
	dir, err := b.makeDir("probe")
	if err != nil {
		return err
	}
	const files = 200
	before, err := cpuTime(os.Getpid())
	if err != nil {
		return err
	}
	for i := range files {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		return err
	}
	if each := (after - before) / files; each > slowFile {
		fmt.Fprintf(b.progress, "making a file costs %v of CPU here, as it does for some minutes after many were removed:"+
			" until then, pushes of small images look better than they are\n", each.Round(time.Microsecond))
	}
	return nil
}

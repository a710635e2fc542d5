package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// On ext4, creating a file takes several times as long for some minutes after many files were
// removed, because ext4 skips recently freed inodes. So nothing is removed before the end of a run.
// Large files are truncated instead.

// truncateLargeFiles truncates the large files below dir to zero bytes. The programs that wrote
// them must have ended. dir need not exist.
func truncateLargeFiles(dir string) error {
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

// slowCreate is the CPU time for creating a file above which the file system is still affected by
// removed files.
const slowCreate = 100 * time.Microsecond

// warnOfSlowFiles creates some files and prints a warning if that is slow.
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
	if each := (after - before) / files; each > slowCreate {
		fmt.Fprintf(b.progress, "making a file costs %v of CPU here, as it does for some minutes after many were removed:"+
			" until then, pushes of small images look better than they are\n", each.Round(time.Microsecond))
	}
	return nil
}

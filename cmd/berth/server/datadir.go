package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// MakeDataDirs makes the data directory and that of the database.
func MakeDataDirs(l *config.Loaded) error {
	for _, dir := range []string{l.Data, filepath.Dir(l.DatabaseFile)} {
		if err := makeDir(dir); err != nil {
			return fmt.Errorf("making the data directory: %w", err)
		}
	}
	return nil
}

// makeDir makes a directory for its owner alone, and the parents that are missing. It survives a power cut: each name is synced
// in its parent, also that of a directory which exists, since whoever made it may have died before doing so. Otherwise such a
// directory is left as it is.
func makeDir(path string) error {
	info, err := os.Stat(path)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", path)
		}
		if err := syncDir(filepath.Dir(path)); !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil // a parent that we may not read is not one that we made anything in
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// syncDir makes the names in a directory durable. Windows cannot sync a directory and does not need to: NTFS journals names.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	return nil
}

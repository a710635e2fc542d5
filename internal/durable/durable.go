// Package durable makes directories and files whose names and bytes survive a power cut.
//
// A file survives if it was synced, and if its directory was synced after the file got its name. A
// directory survives if its parent was synced. The comment of each function lists its system calls
// in order. After a failed sync no function tries again: the kernel may have dropped the pages, and
// would report success.
//
// Windows cannot sync a directory, and need not: NTFS journals names. There the syncs of
// directories do nothing.
package durable

import (
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
)

// MakeDir creates the directory path and its missing parents with mode (before umask). An existing
// directory keeps its mode. A file in the place of a directory is an error.
//
// It syncs the parent of each directory that it creates. It also syncs the parent of the lowest
// directory that exists, because the process that created that one may have died before the sync.
// If this process may not read that parent, it did not create the directory, and skips the sync.
//
//	stat(path)
//	... the same for the parent, if path does not exist
//	mkdir(path)
//	open(parent)
//	fsync(parent)
//	close(parent)
func MakeDir(path string, mode fs.FileMode) error {
	parent := filepath.Dir(path)
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("there is a file of that name, not a directory")}
	case err == nil:
		err := SyncDir(parent) // durable: old directory
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return err
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if parent != path {
		if err := MakeDir(parent, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent) // durable: made directory
}

// MakeDirsIn creates directories with mode (before umask) in the existing directory parent, and
// syncs parent once. Existing directories keep their mode.
//
//	mkdir(parent/name), for each name
//	open(parent)
//	fsync(parent)
//	close(parent)
func MakeDirsIn(parent string, names iter.Seq[string], mode fs.FileMode) error {
	for name := range names {
		if err := os.Mkdir(filepath.Join(parent, name), mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return SyncDir(parent) // durable: all directories
}

// PublishNew syncs the complete file temp and gives it the name file, in the same directory. An
// existing file of that name is not replaced: the error is fs.ErrExist. After an error temp may or
// may not exist, and file may exist.
//
//	open(temp)
//	fsync(temp)
//	close(temp)
//	link(temp, file)
//	unlink(temp)
//	open(directory)
//	fsync(directory)
//	close(directory)
//
// On a file system without hard links, rename(temp, file) takes the place of link and unlink. Then
// an existing file is replaced.
func PublishNew(temp, file string) error {
	if err := syncFile(temp); err != nil { // durable: published file
		return err
	}
	if err := linkOrRename(temp, file); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(file)) // durable: published name
}

// linkOrRename gives temp the name file.
func linkOrRename(temp, file string) error {
	err := os.Link(temp, file)
	switch {
	case err == nil:
		return os.Remove(temp)
	case errors.Is(err, fs.ErrExist):
		return err
	}
	return os.Rename(temp, file)
}

// SyncDir makes the names in the directory path durable.
//
//	open(path)
//	fsync(path)
//	close(path)
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(SyncOpenDir(dir), dir.Close())
}

// syncFile makes the bytes of the file path durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // for writing, as a sync on Windows needs
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

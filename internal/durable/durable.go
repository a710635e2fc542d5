// Package durable makes directories and files whose names and bytes survive a power cut.
//
// A file survives when its bytes were synced and the directory that names it was synced after the
// name was made; a directory survives when the one above it was synced. Each function says above it
// which system calls it makes, in their order. None is tried again when a sync failed, because the
// kernel may have dropped the pages and would report success.
//
// Windows cannot sync a directory and does not need to: NTFS journals names. There the syncs of
// directories do nothing.
package durable

import (
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
)

// MakeDir makes the directory path with mode (before umask), and the parents that are missing.
//
// It syncs the parent of each directory that it makes, and that of the lowest one that exists: its
// maker may have died before it did so. A parent that this process may not read was not made by it
// and is left alone. A directory that exists keeps its mode. A file in the way is an error.
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

// MakeDirsIn makes directories with mode (before umask) in parent, which exists, and syncs parent
// once for all. Those that exist stay as they are.
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

// PublishNew syncs the finished file temp and gives it the name file, in the same directory. A file
// that has the name already is not replaced: the error is fs.ErrExist. With an error temp may or
// may not be there, and file may have been made.
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
// Where the file system has no links, rename(temp, file) stands for link and unlink, and replaces.
func PublishNew(temp, file string) error {
	if err := syncFile(temp); err != nil { // durable: published file
		return err
	}
	if err := linkOrRename(temp, file); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(file)) // durable: published name
}

// linkOrRename gives temp the name file, unless another file has it.
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
	f, err := os.OpenFile(path, os.O_RDWR, 0) // Windows syncs only what may be written
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

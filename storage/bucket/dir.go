package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// dirMode keeps other users of the machine from the images, whatever the umask.
const dirMode fs.FileMode = 0o750

// makeDirs makes the bucket's directory with its missing parents and the directories of its keys, so that their entries
// are durable before an object is put into them. Making the 256 here spares every Put an fsync of content/.
func makeDirs(root string) error {
	content := filepath.Join(root, contentDir)
	// The directories above are fsynced even if they are there: a process may have been killed between making and
	// fsyncing them.
	if err := makeDir(root); err != nil {
		return err
	}
	if err := makeDir(content); err != nil {
		return err
	}
	for i := range 256 {
		err := os.Mkdir(filepath.Join(content, fmt.Sprintf("%02x", i)), dirMode)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return syncPath(content)
}

// makeDir makes the directory path, after its missing parents, and makes its entry in the directory above durable,
// like that of the lowest directory that was there.
func makeDir(path string) error {
	parent := filepath.Dir(path)
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("there is a file of that name")}
	case err == nil:
		err := syncPath(parent)
		if errors.Is(err, fs.ErrPermission) {
			return nil // a directory that we may not read is none that we made
		}
		return err
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(parent)
}

// syncPath makes the entries of new directories in the directory path durable.
func syncPath(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = syncDir(dir) // durable: new directory
	return err
}

package dir

import (
	"io/fs"
	"os"

	"github.com/berth-registry/berth/internal/durable"
)

// disk has the operations that a Store needs. Tests replace it, so that each can fail.
type disk interface {
	create(path string) (*os.File, error) // fs.ErrExist if path exists
	write(f *os.File, p []byte) error
	sync(f *os.File) error
	rename(from, to string) error
	openDir(path string) (*os.File, error)
	syncDir(dir *os.File) error
	remove(path string) error
	open(path string) (*os.File, error)
	stat(path string) error
}

// fileMode is the mode that fileblob uses (before umask). dirMode denies access to other users.
const fileMode fs.FileMode = 0o666

// system implements disk on the operating system.
type system struct{}

func (system) create(path string) (*os.File, error) {
	return openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
}

func (system) write(f *os.File, p []byte) error {
	_, err := f.Write(p)
	return err
}

func (system) sync(f *os.File) error { return f.Sync() }

func (system) rename(from, to string) error { return os.Rename(from, to) }

func (system) openDir(path string) (*os.File, error) { return openFile(path, os.O_RDONLY, 0) }

func (system) syncDir(dir *os.File) error { return durable.SyncOpenDir(dir) }

func (system) remove(path string) error { return os.Remove(path) }

func (system) open(path string) (*os.File, error) { return openFile(path, os.O_RDONLY, 0) }

func (system) stat(path string) error {
	_, err := os.Stat(path)
	return err
}

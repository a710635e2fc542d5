package dir

import (
	"io/fs"
	"os"

	"github.com/berth-registry/berth/internal/durable"
)

// disk is what a Store asks of the operating system, so that a test can let each call fail.
type disk interface {
	create(path string) (*os.File, error) // a file that is new
	write(f *os.File, p []byte) error
	sync(f *os.File) error
	rename(from, to string) error
	openDir(path string) (*os.File, error)
	syncDir(dir *os.File) error
	remove(path string) error
	open(path string) (*os.File, error)
}

// fileMode is what fileblob gives its files. Their directories keep other users from them.
const fileMode fs.FileMode = 0o666

// system is the operating system.
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

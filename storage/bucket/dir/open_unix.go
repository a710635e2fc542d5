//go:build unix

package dir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openFile is like os.OpenFile, but does not try to register the file with the poller, which fails
// for regular files and directories: two system calls instead of six.
//
//	open(path, flag|O_CLOEXEC, mode)
//	fcntl(F_GETFL)
func openFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	for {
		fd, err := syscall.Open(path, flag|syscall.O_CLOEXEC, uint32(mode.Perm()))
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case !errors.Is(err, syscall.EINTR):
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

package server

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks an open file until it is closed. It returns errLocked if another process holds the
// lock. On Windows others cannot read a locked range, so the range is beyond the text that names
// the holder.
func lockFile(f *os.File) error {
	far := &windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, far)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return errLocked
	}
	return err
}

// mayWrite reports whether this process may make files in a directory. Windows tells only when one
// is made, so it returns true.
func mayWrite(string) bool { return true }

//go:build unix

package bucket

import (
	"errors"
	"os"
	"syscall"
)

// syncDir makes the entries of an open directory durable. (On darwin Sync is F_FULLFSYNC.)
func syncDir(dir *os.File) error {
	return dir.Sync()
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

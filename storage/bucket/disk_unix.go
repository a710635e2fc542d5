//go:build unix

package bucket

import (
	"errors"
	"math"
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

// counted returns what a file system counts as an int64. Some say all bits for more than they can
// tell.
func counted(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

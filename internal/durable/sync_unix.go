//go:build unix

package durable

import "os"

// SyncOpenDir makes the names in an open directory durable. An error of writing them back is
// reported once to each descriptor that was open at the time, so open one before the change, for
// each change.
//
//	fsync(dir)
//
// On darwin it is fcntl(dir, F_FULLFSYNC).
func SyncOpenDir(dir *os.File) error {
	return dir.Sync()
}

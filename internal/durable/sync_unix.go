//go:build unix

package durable

import "os"

// SyncOpenDir makes the names in an open directory durable. The kernel reports a failed write of
// the directory once to each descriptor that is open at the time. So open a new descriptor for each
// change, before the change.
//
//	fsync(dir)
//
// On darwin it is fcntl(dir, F_FULLFSYNC).
func SyncOpenDir(dir *os.File) error {
	return dir.Sync()
}

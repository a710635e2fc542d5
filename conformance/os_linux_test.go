package conformance

import (
	"syscall"
	"testing"
)

// dieWithParent makes a child die when the test ends in any way, even by kill -9
// or by a timeout, so that no server outlives it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// stopWithParent is dieWithParent for a daemon that must clean up.
func stopWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}

// onOverlay says whether a directory lies on an overlay file system.
func onOverlay(t testing.TB, dir string) bool {
	t.Helper()
	const overlayMagic = 0x794c7630
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Type) == overlayMagic
}

package conformance

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// dieWithParent makes the kernel kill a child when the test process ends in any way.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// stopWithParent is dieWithParent with SIGTERM, for a daemon that must clean up.
func stopWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}

// onOverlay reports whether a directory is on an overlay file system.
func onOverlay(t testing.TB, dir string) bool {
	t.Helper()
	const overlayMagic = 0x794c7630
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Type) == overlayMagic
}

// unmountBelow unmounts all file systems below a directory.
func unmountBelow(t testing.TB, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], dir+"/") {
			if err := syscall.Unmount(f[1], syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", f[1], err)
			}
		}
	}
}

package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMakeDirBelowAnUnreadableParent checks that MakeDir skips the sync of a parent that the
// process may not read, unless it has created a directory there.
func TestMakeDirBelowAnUnreadableParent(t *testing.T) {
	top := t.TempDir()
	parent := filepath.Join(top, "parent")
	path := filepath.Join(parent, "dir")
	if err := MakeDir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	asOrdinaryUser(t, filepath.Dir(top), top, parent, path)
	if err := os.Chmod(parent, 0o300); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(parent, 0o700) })
	if err := MakeDir(path, 0o700); err != nil {
		t.Error(err)
	}
	if err := MakeDir(filepath.Join(parent, "new"), 0o700); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a new directory whose name cannot be synced: %v", err)
	}
}

// asOrdinaryUser makes the rest of the test access files as a user other than root. That user owns
// the paths in own.
func asOrdinaryUser(t *testing.T, own ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const user = 65534
	for _, path := range own {
		if err := os.Chown(path, user, -1); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread() // setfsuid changes only this thread
	if _, err := unix.SetfsuidRetUid(user); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.SetfsuidRetUid(0)
		runtime.UnlockOSThread()
	})
}

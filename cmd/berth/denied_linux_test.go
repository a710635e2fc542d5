package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDeniedDataIsExplained: every command on the database of another user says whose it is.
func TestDeniedDataIsExplained(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_TEST_ALL") != "" {
			t.Fatal("needs root, to run as two users")
		}
		t.Skip("needs root, to run as two users")
	}
	data, err := os.MkdirTemp("/tmp", "denied") // 0700; all above it can be searched
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(data) })
	addUser(t, data, "alice", "secret")
	if err := syscall.Setresuid(65533, 65533, 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setresuid(0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}()
	for _, command := range []string{"user list", "user add bob --password-stdin", "auth can user:alice pull a", "backup copy.db"} {
		var told bytes.Buffer
		code := run(&console{stdin: strings.NewReader("secret\n"), stdout: &told, stderr: &told}, append(strings.Fields(command), "--data", data))
		want := data + " has mode drwx------ and belongs to root (uid 0), but this process runs as uid 65533: run it as the owner (stat " + filepath.Join(data, "berth.db") + ": permission denied)\n"
		if code != 1 || !strings.Contains(told.String(), want) {
			t.Errorf("%s: code %d, %s", command, code, &told)
		}
	}
}

package main

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// TestD4ErrorOfACommandUnread: a command that fails ends after server.ExitTimeout, although nothing
// reads its standard error.
func TestD4ErrorOfACommandUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unread, stderr := io.Pipe()
		began := time.Now()
		if code := run(&console{stderr: stderr}, []string{"serve", "now"}); code != 1 || time.Since(began) != 500*time.Millisecond {
			t.Errorf("exit code %d after %v", code, time.Since(began))
		}
		unread.Close()
	})
}

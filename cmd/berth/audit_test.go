package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestAuditFile: audit lines go to the file and to the log. After a rotation and SIGHUP they go to
// the new file.
func TestAuditFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.log")
	p := serve(t, newData(t), nil, "--auth-htpasswd", htpasswd(t), "--audit-file", file)
	logins := func(path string) (n int) {
		t.Helper()
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			var entry struct{ Msg, Event, Name, From string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg != "audit" {
				t.Errorf("%q: %v", line, err)
			}
			if entry.Event == "login" && entry.Name == "alice" && entry.From == "127.0.0.1" {
				n++
			}
		}
		return n
	}
	p.status(basic("alice", "secret")...)
	p.await("the login in the file", func() bool { return logins(file) == 1 })
	p.await("the login in the log", func() bool { return strings.Contains(p.log.String(), `"msg":"audit"`) })
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode() != fs.FileMode(0o600) {
		t.Errorf("%v, %v", info, err)
	}
	old := file + ".1"
	if err := os.Rename(file, old); err != nil {
		t.Fatal(err)
	}
	p.status(basic("alice", "secret")...)
	p.signal(syscall.SIGHUP)
	p.await("a new file", func() bool { _, err := os.Stat(file); return err == nil })
	p.await("the end of the reload", func() bool { return strings.Contains(p.log.String(), `"msg":"reloaded","setting":"audit.file"`) })
	p.status(basic("alice", "secret")...)
	p.stop()
	if before, after := logins(old), logins(file); before != 2 || after != 1 {
		t.Errorf("%d logins in the old file, %d in the new", before, after)
	}
}

func TestAuditFileRefused(t *testing.T) {
	t.Parallel()
	r := berth(t, nil, "serve", "--data", newData(t), "--addr", "127.0.0.1:0", "--audit-file", t.TempDir())
	if r.code != 1 || !strings.Contains(r.stderr, "audit.file") {
		t.Errorf("%+v", r)
	}
}

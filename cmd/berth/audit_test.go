package main

import (
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestAuditFile: who did what is in the file at once, and goes into a new one after a rotation and SIGHUP. It is in the log
// too.
func TestAuditFile(t *testing.T) {
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
	if n := logins(file); n != 1 {
		t.Errorf("%d logins in the file", n)
	}
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
	if before, after := logins(old), logins(file); before != 2 || after != 1 {
		t.Errorf("%d logins in the old file, %d in the new", before, after)
	}
	p.stop()
}

// TestAuditFileFails: what cannot be written is told once, until something can be written again.
func TestAuditFileFails(t *testing.T) {
	var out sink
	a, err := openAudit(filepath.Join(t.TempDir(), "audit.log"), slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		good := a.f
		if a.f, err = os.Open(a.path); err != nil { // for reading only
			t.Fatal(err)
		}
		for range 2 {
			if _, err := a.Write([]byte("bad\n")); err == nil {
				t.Error("written")
			}
		}
		if got := strings.Count(out.String(), "level=ERROR"); got != n {
			t.Errorf("%d errors in the log, want %d", got, n)
		}
		if err := a.close(); err != nil {
			t.Fatal(err)
		}
		a.f = good
		if _, err := a.Write([]byte("good\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(a.path); err != nil || string(content) != "good\ngood\n" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestAuditFileRefused(t *testing.T) {
	r := berth(t, nil, "serve", "--data", newData(t), "--addr", "127.0.0.1:0", "--audit-file", t.TempDir())
	if r.code != 1 || !strings.Contains(r.stderr, "audit.file") {
		t.Errorf("%+v", r)
	}
}

package conformance

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// systemCall is a system call that ended well.
type systemCall struct {
	name, args string
}

// startTraced starts a program under strace, with data below a directory that
// does not exist yet, and returns a function that stops it and gives the system
// calls in the order of their ends.
func startTraced(t *testing.T, program, data string) (*server, func() []systemCall) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		missing(t, "no strace: %v", err)
	}
	dir := t.TempDir()
	log, wrapper := filepath.Join(dir, "strace.log"), filepath.Join(dir, "traced")
	// -D keeps berth the child that the harness started.
	script := fmt.Sprintf("#!/bin/sh\nexec strace -D -f -yy -s 64 -o %s -e trace=fsync,fdatasync,mkdir,mkdirat,rename,renameat,renameat2,write,writev,sendto %s \"$@\"\n",
		log, program)
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b := startBerth(t, options{Program: wrapper, Data: data, Env: []string{"BERTH_LOG_LEVEL=warn"}})
	return b, func() []systemCall {
		t.Helper()
		b.Stop()
		return readTrace(t, log)
	}
}

// readTrace reads strace's log, and puts calls together that another thread's
// interrupted.
func readTrace(t *testing.T, file string) []systemCall {
	t.Helper()
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^(\d+) +(?:<\.\.\. \w+ resumed>)?(.*)$`)
	whole := regexp.MustCompile(`^(\w+)\((.*)\) += (\d+)`)
	begun := map[string]string{}
	var calls []systemCall
	for text := range strings.Lines(string(log)) {
		m := line.FindStringSubmatch(strings.TrimSpace(text))
		if m == nil {
			continue
		}
		thread, rest := m[1], m[2]
		if before, ok := strings.CutSuffix(rest, "<unfinished ...>"); ok {
			begun[thread] = strings.TrimRight(before, " ")
			continue
		}
		if strings.Contains(text, "resumed>") {
			rest = begun[thread] + rest
			delete(begun, thread)
		}
		if c := whole.FindStringSubmatch(rest); c != nil {
			calls = append(calls, systemCall{c[1], c[2]})
		}
	}
	return calls
}

// syncs says whether the call makes the path durable.
func (c systemCall) syncs(path string) bool {
	return (c.name == "fsync" || c.name == "fdatasync") && strings.HasSuffix(c.args, "<"+path+">")
}

// made is the directory that the call made, or "".
func (c systemCall) made() string {
	if c.name != "mkdir" && c.name != "mkdirat" {
		return ""
	}
	_, path, _ := strings.Cut(c.args, `"`)
	path, _, _ = strings.Cut(path, `"`)
	return path
}

// answers says whether the call sends an answer with this status.
func (c systemCall) answers(status string) bool {
	return (c.name == "write" || c.name == "writev" || c.name == "sendto") && strings.Contains(c.args, `"HTTP/1.1 `+status)
}

// after returns the index of the first call from i on that fits, or -1.
func after(calls []systemCall, i int, fits func(systemCall) bool) int {
	for ; i < len(calls); i++ {
		if fits(calls[i]) {
			return i
		}
	}
	return -1
}

// traceFirstPush starts on a directory that is not there, pushes a blob, and
// requires that each step was durable before the next one relied on it: every
// new directory's name before the first answer, and for the blob its bytes,
// then its name, then its rows, then the answer.
func traceFirstPush(t *testing.T, program string) error {
	top := t.TempDir()
	data := filepath.Join(top, "new", "data")
	b, stop := startTraced(t, program, data)
	if a := newCaller(b.URL).post("team/app", newContent(1, 100_000, digest.SHA256)); a.status != http.StatusCreated {
		t.Fatalf("push: %v", a)
	}
	calls := stop()
	answered := after(calls, 0, func(c systemCall) bool { return c.answers("201") })
	if answered < 0 {
		t.Fatalf("strace shows no 201 among %d calls", len(calls))
	}
	directories := 0
	for i, c := range calls[:answered] {
		dir := c.made()
		if !strings.HasPrefix(dir, top) {
			continue
		}
		directories++
		parent := filepath.Dir(dir)
		if s := after(calls, i, func(c systemCall) bool { return c.syncs(parent) }); s < 0 || s > answered {
			return fmt.Errorf("%s is made and no fsync of %s follows before the first 201", dir, parent)
		}
	}
	if directories < 259 { // new, data, blobs, content, 256 below it
		t.Fatalf("strace shows only %d directories made", directories)
	}
	return traceOrder(calls[:answered+1], filepath.Join(data, "blobs", "content"), filepath.Join(data, "berth.db-wal"))
}

// traceOrder requires the order of a push in the calls up to its answer.
func traceOrder(calls []systemCall, content, log string) error {
	steps := []struct {
		what string
		fits func(systemCall) bool
	}{
		{"fsync of the object's temporary file", func(c systemCall) bool {
			return c.name == "fsync" && strings.Contains(c.args, "<"+content) && strings.HasSuffix(c.args, ".tmp>")
		}},
		{"rename of the object", func(c systemCall) bool {
			return strings.HasPrefix(c.name, "rename") && strings.Contains(c.args, content)
		}},
		{"fsync of the object's directory", func(c systemCall) bool {
			return c.name == "fsync" && strings.Contains(c.args, "<"+content+"/") && !strings.HasSuffix(c.args, ".tmp>")
		}},
		{"sync of the log of rows", func(c systemCall) bool { return c.syncs(log) }},
		{"answer", func(c systemCall) bool { return c.answers("201") }},
	}
	at := 0
	for _, s := range steps {
		i := after(calls, at, s.fits)
		if i < 0 {
			return fmt.Errorf("before the 201 there is no %s in its place", s.what)
		}
		at = i + 1
	}
	return nil
}

// TestSyncOrder looks at the system calls of a first push.
func TestSyncOrder(t *testing.T) {
	if err := traceFirstPush(t, berthBinary(t)); err != nil {
		t.Error(err)
	}
}

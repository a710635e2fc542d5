package conformance

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/testserver"
)

// systemCall is a system call that succeeded.
type systemCall struct {
	name, args string
}

// traced is the system calls of a server up to its first 201, ordered by their ends, and the paths
// of its data.
type traced struct {
	calls             []systemCall
	top, data, bucket string
}

// traceFirst starts a program under strace and pushes a blob. prepare may make the directories of
// database and bucket.
func traceFirst(t *testing.T, program string, prepare func(data, bucket string) error) traced {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		testserver.SkipOrFail(t, "no strace: %v", err)
	}
	top := t.TempDir()
	tr := traced{top: top, data: filepath.Join(top, "rows", "new", "data"), bucket: filepath.Join(top, "bytes", "new", "blobs")}
	if err := prepare(tr.data, tr.bucket); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log, wrapper := filepath.Join(dir, "strace.log"), filepath.Join(dir, "traced")
	// With -D, berth stays the direct child of the test.
	script := fmt.Sprintf("#!/bin/sh\nexec strace -D -f -yy -s 64 -o %s -e trace=fcntl,fsync,fdatasync,mkdir,mkdirat,rename,renameat,renameat2,write,writev,sendto %s \"$@\"\n",
		log, program)
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b := startBerth(t, options{Program: wrapper, Data: tr.data,
		Env: []string{"BERTH_LOG_LEVEL=warn", "BERTH_STORAGE_BUCKET=file://" + tr.bucket}})
	if a := newCaller(b.URL).post("team/app", newContent(1, 100_000, digest.SHA256)); a.status != http.StatusCreated {
		t.Fatalf("push: %v", a)
	}
	b.Stop()
	calls := readTrace(t, log)
	answered := after(calls, 0, func(c systemCall) bool { return c.answers("201") })
	if answered < 0 {
		t.Fatalf("strace shows no 201 among %d calls", len(calls))
	}
	tr.calls = calls[:answered+1]
	return tr
}

// readTrace reads strace's log. It joins the lines of calls that are interrupted by other threads.
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

// syncs reports whether the call makes the path durable.
func (c systemCall) syncs(path string) bool {
	return (c.name == "fsync" || c.name == "fdatasync") && strings.HasSuffix(c.args, "<"+path+">")
}

// madeDir returns the directory that the call made, or "".
func (c systemCall) madeDir() string {
	if c.name != "mkdir" && c.name != "mkdirat" {
		return ""
	}
	_, path, _ := strings.Cut(c.args, `"`)
	path, _, _ = strings.Cut(path, `"`)
	return path
}

// answers reports whether the call sends an answer with this status.
func (c systemCall) answers(status string) bool {
	return (c.name == "write" || c.name == "writev" || c.name == "sendto") && strings.Contains(c.args, `"HTTP/1.1 `+status)
}

// after returns the index of the first matching call from i on, or -1.
func after(calls []systemCall, i int, fits func(systemCall) bool) int {
	for ; i < len(calls); i++ {
		if fits(calls[i]) {
			return i
		}
	}
	return -1
}

// traceNew pushes a blob to a server without any data. Each step must be durable before the next
// one relies on it: the names of new directories before the first answer; for the blob first its
// bytes, then its name, then its rows, then the answer.
func traceNew(t *testing.T, program string) error {
	tr := traceFirst(t, program, func(data, bucket string) error { return nil })
	directories := 0
	for i, c := range tr.calls {
		dir := c.madeDir()
		if !strings.HasPrefix(dir, tr.top) {
			continue
		}
		directories++
		if after(tr.calls, i, func(c systemCall) bool { return c.syncs(filepath.Dir(dir)) }) < 0 {
			return fmt.Errorf("%s is made, and its parent is not synced before the first 201", dir)
		}
	}
	if directories != 3+4+256 { // rows/new/data, bytes/new/blobs/content, and the 256 below content
		t.Fatalf("strace shows %d directories made", directories)
	}
	return traceOrder(tr.calls, filepath.Join(tr.bucket, "content"), filepath.Join(tr.data, "berth.db-wal"))
}

// traceMade starts with directories from a process that may have ended before it synced their
// names.
func traceMade(t *testing.T, program string) error {
	tr := traceFirst(t, program, func(data, bucket string) error {
		return errors.Join(os.MkdirAll(data, 0o700), os.MkdirAll(bucket, 0o700))
	})
	for _, dir := range []string{tr.data, tr.bucket} {
		if after(tr.calls, 0, func(c systemCall) bool { return c.syncs(filepath.Dir(dir)) }) < 0 {
			return fmt.Errorf("%s is there, and its parent is not synced before the first 201", dir)
		}
	}
	return nil
}

// traceOrder checks the order of a push in the calls up to its answer.
func traceOrder(calls []systemCall, content, log string) error {
	directory := regexp.MustCompile(`<` + regexp.QuoteMeta(content) + `/[0-9a-f]{2}>$`)
	object := regexp.MustCompile(`<` + regexp.QuoteMeta(content) + `/[0-9a-f]{2}/[^/]+>$`)
	steps := []struct {
		what string
		fits func(systemCall) bool
	}{
		{"fsync of the object", func(c systemCall) bool {
			return c.name == "fsync" && object.MatchString(c.args)
		}},
		{"fsync of the object's directory", func(c systemCall) bool {
			return c.name == "fsync" && directory.MatchString(c.args)
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

// TestSyncOrder checks the system calls of first pushes.
func TestSyncOrder(t *testing.T) {
	for _, trace := range []func(*testing.T, string) error{traceNew, traceMade} {
		if err := trace(t, berthBinary(t)); err != nil {
			t.Error(err)
		}
	}
}

// TestObjectsAreNotPolled pushes a blob. Its file and its directory are each opened with one system
// call and one request of their flags. os.OpenFile would also set flags, to try whether they can be
// polled.
func TestObjectsAreNotPolled(t *testing.T) {
	tr := traceFirst(t, berthBinary(t), func(data, bucket string) error { return nil })
	file := regexp.MustCompile(`<` + regexp.QuoteMeta(tr.bucket) + `/content/[0-9a-f]{2}(/[^/]+)?>, (F_\w+)`)
	flags := map[string]int{}
	for _, c := range tr.calls {
		if m := file.FindStringSubmatch(c.args); m != nil && c.name == "fcntl" {
			flags[m[2]]++
		}
	}
	if flags["F_GETFL"] < 2 || len(flags) != 1 {
		t.Errorf("the calls of fcntl are %v, want F_GETFL alone", flags)
	}
}

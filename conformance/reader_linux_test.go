package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/testserver"
)

// unreadServer is a server whose standard error is a pipe that nothing reads, unless the test does.
type unreadServer struct {
	*server
	call   *caller
	stderr *os.File // reading end of the pipe
	debug  string   // URL of the debug address
}

// startUnread starts a server and reads nothing of its standard error.
func startUnread(t *testing.T, args ...string) *unreadServer {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	debug := testserver.FreeAddr(t)
	s := startBerth(t, options{Stderr: w, Args: append([]string{"--debug-addr", debug}, args...)})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	u := &unreadServer{server: s, call: newCaller(s.URL), stderr: r, debug: "http://" + debug}
	u.call.http.Timeout = 20 * time.Second
	return u
}

// ping sends n requests, each of which must be answered.
func (u *unreadServer) ping(n int) {
	u.t.Helper()
	for i := range n {
		if a := u.call.do(request{method: "GET", path: "/v2/"}); a.status != http.StatusOK {
			health := u.call.do(request{method: "GET", path: "/livez"})
			u.t.Fatalf("request %d of %d: %v; /livez: %v", i+1, n, a, health)
		}
	}
}

// metric returns a counter, or -1 if there is none.
func (u *unreadServer) metric(name string) int {
	u.t.Helper()
	a := u.call.do(request{method: "GET", path: u.debug + "/metrics"})
	if a.status != http.StatusOK {
		u.t.Fatalf("metrics: %v", a)
	}
	for line := range strings.Lines(string(a.body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				u.t.Fatalf("%s: %v", line, err)
			}
			return int(n)
		}
	}
	return -1
}

// manyPings is more requests than fit into the log's queue and a pipe.
const manyPings = 5000

// TestD4NobodyReadsTheLog: a full pipe at standard error blocks no request and no signal.
func TestD4NobodyReadsTheLog(t *testing.T) {
	u := startUnread(t)
	u.ping(manyPings)
	if n := u.metric("berth_log_dropped_total"); n <= 0 {
		t.Errorf("berth_log_dropped_total is %d", n)
	}
	u.Stop()
}

// TestD4SecondSignalUnread: a second signal ends the process during shutdown.delay, also if nothing
// reads the log.
func TestD4SecondSignalUnread(t *testing.T) {
	u := startUnread(t, "--shutdown-delay", "1h")
	u.ping(manyPings)
	u.Signal(syscall.SIGTERM)
	if !poll(time.Minute, func() bool {
		return u.call.do(request{method: "GET", path: "/readyz"}).status == http.StatusServiceUnavailable
	}) {
		t.Fatal("the first signal does nothing")
	}
	u.Signal(syscall.SIGTERM)
	select {
	case <-u.done:
		if code := u.cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("%v, want exit status 1", u.cmd.ProcessState)
		}
	case <-time.After(time.Minute):
		t.Error("the process did not end after a second signal")
		u.Kill()
	}
}

// TestD4LogSaysWhatItLacks: when reading continues, the log continues too, and one line has the
// number of missing lines.
func TestD4LogSaysWhatItLacks(t *testing.T) {
	u := startUnread(t)
	u.ping(manyPings)
	requests, missing, gaps := 0, 0, 0
	count := func(line string) {
		var l struct {
			Level, Msg, Route string
			Lines             int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		switch {
		case l.Msg == "request" && l.Route == "ping":
			requests++
		case l.Lines > 0 && l.Level == "WARN":
			gaps++
			missing += l.Lines
		}
	}
	lines := bufio.NewScanner(u.stderr)
	for requests+missing < manyPings && lines.Scan() {
		count(lines.Text())
	}
	dropped := u.metric("berth_log_dropped_total")
	if gaps != 1 || missing == 0 || missing != dropped || requests+missing < manyPings {
		t.Errorf("%d lines of requests, %d missing by what %d lines say and %d by the metric; of %d requests", requests, missing, gaps, dropped, manyPings)
	}
	u.ping(1)
	for requests = 0; requests == 0 && lines.Scan(); {
		count(lines.Text())
	}
	if requests != 1 {
		t.Error("the log does not go on")
	}
	go io.Copy(io.Discard, u.stderr)
	u.Stop()
}

// TestD4ReaderOfTheLogGone: the server continues after the reader of standard error has closed the
// pipe.
func TestD4ReaderOfTheLogGone(t *testing.T) {
	u := startUnread(t)
	if err := u.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	if !poll(time.Minute, func() bool { u.ping(1); return u.metric("berth_log_dropped_total") > 0 }) {
		t.Errorf("berth_log_dropped_total is %d", u.metric("berth_log_dropped_total"))
	}
	if a := u.call.post("team/app", newContent(1, 1000, digest.SHA256)); a.status != http.StatusCreated {
		t.Errorf("a push: %v", a)
	}
	u.Stop()
}

// hungFile is an audit file that accepts no lines until it is drained: a named pipe.
type hungFile struct {
	t    *testing.T
	path string
	pipe *os.File
}

func newHungFile(t *testing.T) *hungFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	return &hungFile{t, path, pipe}
}

// drain reads lines of the audit up to the first for which last returns true. It returns the number
// of writes in them.
func (h *hungFile) drain(last func(digest, reference string) bool) (writes int) {
	h.t.Helper()
	h.pipe.SetReadDeadline(time.Now().Add(time.Minute))
	lines := bufio.NewScanner(h.pipe)
	for lines.Scan() {
		var l struct{ Msg, Event, Digest, Reference string }
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil || l.Msg != "audit" {
			h.t.Fatalf("%q: %v", lines.Text(), err)
		}
		if l.Event == "write" {
			writes++
		}
		if last(l.Digest, l.Reference) {
			return writes
		}
	}
	h.t.Fatalf("the audit ends after %d writes: %v", writes, lines.Err())
	return 0
}

// TestD4AuditFileHangs: while the audit file accepts no lines, requests that need an audit line
// change nothing, and all others are served.
func TestD4AuditFileHangs(t *testing.T) {
	const repo = "team/app"
	file := newHungFile(t)
	s := startBerth(t, options{Args: []string{"--audit-file", file.path}})
	call := newCaller(s.URL)
	call.http.Timeout = 20 * time.Second
	config, layer := newContent(1, 100, digest.SHA256), newContent(2, 100, digest.SHA256)
	payload := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":100},"layers":[{"mediaType":%q,"digest":%q,"size":100}]}`,
		ociManifest, ociConfig, config.digest, ociLayer, layer.digest)
	for _, a := range []answer{call.post(repo, config), call.post(repo, layer), call.putManifest(repo, "v1", ociManifest, payload)} {
		if a.status != http.StatusCreated {
			t.Fatalf("a push: %v", a)
		}
	}
	written, pushed, refused := 3, layer, content{}
	for n := uint64(100); refused.size == 0; n++ { // until the queue and the pipe are full
		c := newContent(n, 10, digest.SHA256)
		switch a := call.post(repo, c); a.status {
		case http.StatusCreated:
			pushed = c
			written++
		case http.StatusServiceUnavailable:
			refused = c
		default:
			t.Fatalf("push %d: %v", written, a)
		}
		if written > 20_000 {
			t.Fatal("20,000 writes have found room")
		}
	}

	upload, a := call.open(repo, "")
	if a.status != http.StatusAccepted {
		t.Errorf("a session, which no line is for: %v", a)
	}
	if a := call.patch(upload, refused, 0, refused.size, true); a.status != http.StatusAccepted {
		t.Errorf("a chunk, which no line is for: %v", a)
	}
	manifest := "/v2/" + repo + "/manifests/v1"
	for name, a := range map[string]answer{
		"a blob in one request": call.post(repo, refused),
		"the end of an upload":  call.put(upload, refused, refused.size),
		"a manifest":            call.putManifest(repo, "v2", ociManifest, payload),
		"a mount":               call.do(request{method: "POST", path: "/v2/other/app/blobs/uploads/?from=" + repo + "&mount=" + layer.digest.String(), body: http.NoBody}),
		"a tag's deletion":      call.do(request{method: "DELETE", path: manifest}),
		"a blob's deletion":     call.do(request{method: "DELETE", path: "/v2/" + repo + "/blobs/" + pushed.digest.String()}),
	} {
		if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "UNAVAILABLE") || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %v, Retry-After %q", name, a, a.header.Get("Retry-After"))
		}
	}
	for p, want := range map[place]string{
		{blobKind, repo, refused.digest.String()}:        absent,
		{blobKind, repo, pushed.digest.String()}:         pushed.digest.String(),
		{blobKind, "other/app", layer.digest.String()}:   absent,
		{tagKind, repo, "v1"}:                            sha256Of(payload).String(),
		{tagKind, repo, "v2"}:                            absent,
		{manifestKind, repo, sha256Of(payload).String()}: sha256Of(payload).String(),
	} {
		if value, wrong, err := call.read(p, ""); value != want || wrong != "" || err != nil {
			t.Errorf("%s holds %q %s %v, want %q", p, value, wrong, err, want)
		}
	}

	drained := make(chan int)
	go func() {
		drained <- file.drain(func(d, _ string) bool { return d == pushed.digest.String() })
	}()
	if n := <-drained; n != written {
		t.Errorf("the audit has %d writes, %d were acknowledged", n, written)
	}
	for name, a := range map[string]answer{"the blob": call.post(repo, refused), "the end of the upload": call.put(upload, refused, refused.size)} {
		if a.status != http.StatusCreated {
			t.Errorf("%s, when the file takes lines again: %v", name, a)
		}
	}
	if a := call.do(request{method: "DELETE", path: manifest}); a.status != http.StatusAccepted {
		t.Errorf("the tag's deletion, when the file takes lines again: %v", a)
	}
	file.drain(func(_, reference string) bool { return reference == "v1" })
}

// TestD4StopWithAuditFileHung: SIGTERM ends a server whose audit file accepts no lines.
func TestD4StopWithAuditFileHung(t *testing.T) {
	file := newHungFile(t)
	s := startBerth(t, options{Args: []string{"--audit-file", file.path}})
	call := newCaller(s.URL)
	call.http.Timeout = 20 * time.Second
	for n := range uint64(500) { // more lines than fit into the pipe
		if a := call.post("team/app", newContent(n, 10, digest.SHA256)); a.status != http.StatusCreated {
			t.Fatalf("push %d: %v", n, a)
		}
	}
	s.Stop()
	if log := s.tail(5); !strings.Contains(log, "audit") {
		t.Errorf("the log does not say what the audit lacks:\n%s", log)
	}
}

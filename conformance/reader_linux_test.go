package conformance

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// unread is a server whose standard error is a pipe that only the test can read.
type unread struct {
	*server
	call   *caller
	stderr *os.File // the end to read from
	debug  string   // URL of the debug address
}

// startUnread starts a server and reads nothing of what it writes.
func startUnread(t *testing.T, args ...string) *unread {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	debug := freeAddr(t)
	s := startBerth(t, options{Stderr: w, Args: append([]string{"--debug-addr", debug}, args...)})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	u := &unread{server: s, call: newCaller(s.URL), stderr: r, debug: "http://" + debug}
	u.call.http.Timeout = 20 * time.Second
	return u
}

// ping makes n requests, each of which must be answered.
func (u *unread) ping(n int) {
	u.t.Helper()
	for i := range n {
		if a := u.call.do(request{method: "GET", path: "/v2/"}); a.status != http.StatusOK {
			health := u.call.do(request{method: "GET", path: "/livez"})
			u.t.Fatalf("request %d of %d: %v; /livez: %v", i+1, n, a, health)
		}
	}
}

// metric reads a counter; -1 means that there is none.
func (u *unread) metric(name string) int {
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

// pings is more requests than the queue of the log and a pipe have room for.
const pings = 5000

// TestD4NobodyReadsTheLog: a reader of standard error that stands still holds up
// no request and no signal.
func TestD4NobodyReadsTheLog(t *testing.T) {
	u := startUnread(t)
	u.ping(pings)
	if n := u.metric("berth_log_dropped_total"); n <= 0 {
		t.Errorf("berth_log_dropped_total is %d", n)
	}
	u.Stop()
}

// TestD4SecondSignalUnread: a second signal ends the process while a request is
// in flight, also when nobody reads what the log has to say.
func TestD4SecondSignalUnread(t *testing.T) {
	u := startUnread(t, "--shutdown-delay", "1h")
	u.ping(pings)
	u.Signal(syscall.SIGTERM)
	for u.call.do(request{method: "GET", path: "/readyz"}).status != http.StatusServiceUnavailable {
		time.Sleep(10 * time.Millisecond)
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

// TestD4LogSaysWhatItLacks: when reading goes on, the log goes on, and one line
// says how many there would be more.
func TestD4LogSaysWhatItLacks(t *testing.T) {
	u := startUnread(t)
	u.ping(pings)
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
	for requests+missing < pings && lines.Scan() {
		count(lines.Text())
	}
	dropped := u.metric("berth_log_dropped_total")
	if gaps != 1 || missing == 0 || missing != dropped || requests+missing < pings {
		t.Errorf("%d lines of requests, %d missing by what %d lines say and %d by the metric; of %d requests", requests, missing, gaps, dropped, pings)
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

// TestD4ReaderOfTheLogGone: a reader of standard error that went away ends
// nothing.
func TestD4ReaderOfTheLogGone(t *testing.T) {
	u := startUnread(t)
	if err := u.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	for range 20 { // some hundred milliseconds, in which the log is written
		u.ping(1)
		if u.metric("berth_log_dropped_total") > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := u.metric("berth_log_dropped_total"); n <= 0 {
		t.Errorf("berth_log_dropped_total is %d", n)
	}
	if a := u.call.post("team/app", newContent(1, 1000, digest.SHA256)); a.status != http.StatusCreated {
		t.Errorf("a push: %v", a)
	}
	u.Stop()
}

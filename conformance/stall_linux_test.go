package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/testserver"
)

// The limits of the servers in the tests of slow clients. A test waits for patience, which is much
// longer, before it fails because something does not happen.
const (
	headerLimit = time.Second
	bodyLimit   = 2 * time.Second
	patience    = time.Minute
)

// limited is a server with short limits, and its use of resources before the test's clients
// connect.
type limited struct {
	*server
	call       *caller
	debug      string
	files      int
	goroutines int
}

// startLimited starts a limited server with additional variables.
func startLimited(t *testing.T, env ...string) *limited {
	t.Helper()
	debug := testserver.FreeAddr(t)
	b := startBerth(t, options{Env: append([]string{
		"BERTH_LOG_LEVEL=warn",
		"BERTH_HTTP_HEADER_TIMEOUT=" + headerLimit.String(),
		"BERTH_HTTP_BODY_TIMEOUT=" + bodyLimit.String(),
		"BERTH_DEBUG_ADDR=" + debug,
	}, env...)})
	l := &limited{server: b, call: newCaller(b.URL), debug: "http://" + debug}
	// The first requests open files that stay open.
	c := newContent(1, 1000, digest.SHA256)
	if a := l.call.post("warm/up", c); a.status != http.StatusCreated {
		t.Fatalf("push: %v", a)
	}
	if _, wrong, err := l.call.read(place{blobKind, "warm/up", c.digest.String()}, ""); wrong != "" || err != nil {
		t.Fatalf("pull: %s %v", wrong, err)
	}
	l.files, l.goroutines = l.openFiles(), l.running()
	return l
}

// openFiles returns the number of the process's file descriptors.
func (l *limited) openFiles() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.Pid()))
	if err != nil {
		l.t.Error(err)
	}
	return len(entries)
}

// running returns the number of the process's goroutines.
func (l *limited) running() int {
	a := l.call.do(request{method: "GET", path: l.debug + "/debug/pprof/goroutine?debug=1"})
	_, after, _ := bytes.Cut(a.body, []byte("total "))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	n, err := strconv.Atoi(string(line))
	if err != nil {
		l.t.Errorf("goroutines: %v: %v", err, a)
	}
	return n
}

// resident returns the process's resident memory in bytes.
func (l *limited) resident() int64 { return l.memory("VmRSS") }

// requireReleased waits until the server has released the resources of its clients.
func (l *limited) requireReleased() {
	l.t.Helper()
	const slack = 12 // the test's own connections, SQLite's
	const memory = 256 << 20
	var files, goroutines int
	var rss int64
	if !poll(patience, func() bool {
		l.call.http.CloseIdleConnections()
		files, goroutines, rss = l.openFiles(), l.running(), l.resident()
		return files <= l.files+slack && goroutines <= l.goroutines+slack && rss <= memory
	}) {
		l.t.Errorf("after the clients went: %d files, %d goroutines, %d MiB; before they came: %d and %d",
			files, goroutines, rss>>20, l.files, l.goroutines)
	}
}

// requireServing requires that other clients can push and pull.
func (l *limited) requireServing() {
	l.t.Helper()
	for i := range 10 {
		c := newContent(uint64(1000+i), 50_000, digest.SHA256)
		if a := l.call.post("other/people", c); a.status != http.StatusCreated {
			l.t.Errorf("another client's push: %v", a)
		}
		if value, wrong, err := l.call.read(place{blobKind, "other/people", c.digest.String()}, ""); value == absent || wrong != "" || err != nil {
			l.t.Errorf("another client's pull: %q %s %v", value, wrong, err)
		}
	}
}

// dial opens a connection and sends text.
func (l *limited) dial(text string) net.Conn {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.Addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		l.t.Fatal(err)
	}
	return conn
}

// requireCut reads until the server closes the connection and returns what it has read.
func requireCut(t *testing.T, conn net.Conn) string {
	conn.SetReadDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stalled connection was not cut in %v; it said %.200q", patience, said)
	}
	return string(said)
}

// requireAllCut is requireCut for several connections.
func requireAllCut(t *testing.T, conns []net.Conn) {
	t.Helper()
	var wg sync.WaitGroup
	for _, conn := range conns {
		wg.Go(func() { requireCut(t, conn) })
	}
	wg.Wait()
}

// TestStalledHeaders has 500 clients that send only one byte, and others with a header that never
// ends.
func TestStalledHeaders(t *testing.T) {
	l := startLimited(t)
	var conns []net.Conn
	for range 500 {
		conns = append(conns, l.dial("G"))
	}
	for range 50 {
		conn := l.dial("GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		conns = append(conns, conn)
		go func() {
			for {
				if _, err := io.WriteString(conn, "x"); err != nil {
					return // cut by the server, or closed at the end of the test
				}
				time.Sleep(headerLimit / 5)
			}
		}()
	}
	l.requireServing()
	requireAllCut(t, conns)
	l.requireReleased()
	l.requireServing()
}

// TestLongHeaders sends headers around the limit of 64 KiB.
func TestLongHeaders(t *testing.T) {
	l := startLimited(t)
	for _, c := range []struct{ bytes, want int }{{60 << 10, 200}, {80 << 10, 431}, {2 << 20, 431}} {
		conn := l.dial("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n")
		go func() {
			// The server may answer before it has read everything.
			_, _ = io.WriteString(conn, "X-Long: "+strings.Repeat("x", c.bytes)+"\r\n\r\n")
		}()
		conn.SetReadDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("a header of %d bytes: %v", c.bytes, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("a header of %d bytes is answered %d, want %d", c.bytes, resp.StatusCode, c.want)
		}
	}
}

// path returns the path of a session's URL.
func (l *limited) path(s session) string { return strings.TrimPrefix(s.url, l.URL) }

// open opens an upload session.
func (l *limited) open(repo string) session {
	l.t.Helper()
	s, a := l.call.open(repo, "")
	if a.status != http.StatusAccepted {
		l.t.Fatalf("POST: %v", a)
	}
	return s
}

// awaitReceived waits for at most limit until the registry has n bytes of an upload. It returns how
// many it has then.
func (l *limited) awaitReceived(s session, n int64, limit time.Duration) (got int64) {
	l.t.Helper()
	poll(limit, func() bool {
		var a answer
		if got, a = l.call.received(s); a.status != http.StatusNoContent || a.err != nil {
			l.t.Fatalf("the status of an upload: %v", a)
		}
		return got == n
	})
	return got
}

// requireResumed finishes an upload from byte n on and reads the blob back.
func (l *limited) requireResumed(repo string, s session, c content, n int64) {
	l.t.Helper()
	if a := l.call.put(s, c, n); a.status != http.StatusCreated {
		l.t.Errorf("an upload resumed at %d: %v", n, a)
		return
	}
	if value, wrong, err := l.call.read(place{blobKind, repo, c.digest.String()}, ""); value == absent || wrong != "" || err != nil {
		l.t.Errorf("a resumed upload, read back: %q %s %v", value, wrong, err)
	}
}

// bodyOf returns the first n bytes of a content.
func bodyOf(c content, n int64) string {
	var b strings.Builder
	io.Copy(&b, c.slice(0, n))
	return b.String()
}

// reset resets the connection. The server loses what it has not read from the kernel.
func reset(t *testing.T, c net.Conn) {
	t.Helper()
	if err := errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
		t.Error(err)
	}
}

// TestBrokenUpload sends a part of a PATCH's body, with a Content-Length and chunked, and then
// stalls, closes, or resets the connection. The server must keep what arrived, and the upload must
// continue from there.
func TestBrokenUpload(t *testing.T) {
	t.Parallel()
	const repo, sent = "team/app", 300_000
	l := startLimited(t)
	ends := map[string]func(*testing.T, net.Conn){
		"stall":   func(t *testing.T, c net.Conn) { requireCut(t, c) },
		"hang up": func(t *testing.T, c net.Conn) { c.Close() },
		"reset":   reset,
		"half":    func(t *testing.T, c net.Conn) { c.(*net.TCPConn).CloseWrite(); requireCut(t, c) },
	}
	number := uint64(100)
	for name, end := range ends {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s chunked=%v", name, chunked), func(t *testing.T) {
				number++
				c := newContent(number, 1_000_000, digest.SHA256)
				s := l.open(repo)
				head := "PATCH " + l.path(s) + " HTTP/1.1\r\nHost: localhost\r\n"
				if chunked {
					head += fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", c.size)
				} else {
					head += fmt.Sprintf("Content-Length: %d\r\nContent-Range: 0-%d\r\n\r\n", c.size, c.size-1)
				}
				before := l.bytesRead()
				conn := l.dial(head + bodyOf(c, sent))
				l.awaitBytesRead(before + sent)
				end(t, conn)
				if name == "reset" {
					// The reset may overtake the write of the last bytes.
					l.requireResumed(repo, s, c, l.awaitReceived(s, sent, 5*bodyLimit))
					return
				}
				if n := l.awaitReceived(s, sent, patience); n != sent {
					t.Fatalf("an upload that broke off has %d bytes, want the %d that arrived", n, sent)
				}
				l.requireResumed(repo, s, c, sent)
			})
		}
	}
	l.requireReleased()
}

// TestStalledUpload stalls during each kind of body that is stored only whole. The server must not
// store it, and must cut the connection.
func TestStalledUpload(t *testing.T) {
	t.Parallel()
	const repo = "team/app"
	l := startLimited(t)
	c := newContent(7, 1_000_000, digest.SHA256)
	put := l.open(repo)
	for _, line := range []string{
		"PUT " + l.path(put) + "?digest=" + c.digest.String(),
		"POST /v2/" + repo + "/blobs/uploads/?digest=" + c.digest.String(),
		"PUT /v2/" + repo + "/manifests/v1",
		"PUT /v2/" + repo + "/manifests/" + c.digest.String(),
		"POST /v2/" + repo + "/blobs/uploads/",
		"GET /v2/",
		"DELETE /v2/" + repo + "/manifests/v1",
	} {
		t.Run(line, func(t *testing.T) {
			head := " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + ociManifest + "\r\nContent-Length: 1000000\r\n\r\n"
			said := requireCut(t, l.dial(line+head+bodyOf(c, 300_000)))
			if strings.HasPrefix(said, "HTTP/1.1 201") {
				t.Errorf("a part of a body was answered %.300s", said)
			}
		})
	}
	for _, p := range []place{{blobKind, repo, c.digest.String()}, {manifestKind, repo, c.digest.String()}, {tagKind, repo, "v1"}} {
		if value, wrong, err := l.call.read(p, ""); value != absent || wrong != "" || err != nil {
			t.Errorf("%s after a stalled push: %q %s %v", p, value, wrong, err)
		}
	}
	// A client repeats a PUT with the whole body on the same URL.
	l.requireResumed(repo, put, c, 0)
	l.requireReleased()
}

// TestManyStalledUploads has 500 clients that send one byte of a body.
func TestManyStalledUploads(t *testing.T) {
	l := startLimited(t)
	var conns []net.Conn
	var sessions []session
	for range 500 {
		s := l.open("team/app")
		sessions = append(sessions, s)
		conns = append(conns, l.dial("PATCH "+l.path(s)+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx"))
	}
	l.requireServing()
	if rss := l.resident(); rss > 512<<20 {
		t.Errorf("%d MiB of memory for 500 clients with a byte each", rss>>20)
	}
	requireAllCut(t, conns)
	l.requireReleased()
	for _, s := range []session{sessions[0], sessions[499]} {
		a := l.call.patch(s, newContent(1, 100, digest.SHA256), 1, 50, true)
		if a.status != http.StatusAccepted {
			t.Errorf("a PATCH from byte 1 on, of which byte 0 arrived: %v", a)
		}
	}
	l.requireServing()
}

package conformance

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// peakMemory returns the maximum of the process's resident memory so far, in bytes, without the
// pages of files: these are the program's own, which the kernel can drop.
func (s *server) peakMemory() int64 { return s.memory("VmHWM") - s.memory("RssFile") }

// memory returns a figure of the process's status, in bytes.
func (s *server) memory(name string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		s.t.Error(err)
	}
	_, after, _ := strings.Cut(string(status), name+":")
	var kib int64
	if _, err := fmt.Sscan(after, &kib); err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
	return kib << 10
}

// bytesRead returns how many bytes the process has read so far, from sockets and files.
func (s *server) bytesRead() (n int64) {
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.Pid()))
	if err != nil {
		s.t.Error(err)
	}
	if _, err := fmt.Sscanf(string(io), "rchar: %d", &n); err != nil {
		s.t.Errorf("rchar: %v", err)
	}
	return n
}

// awaitBytesRead waits until the process has read n bytes.
func (s *server) awaitBytesRead(n int64) {
	s.t.Helper()
	if !poll(patience, func() bool { return s.bytesRead() >= n }) {
		s.t.Fatalf("the server has read %d bytes, want %d", s.bytesRead(), n)
	}
}

// TestD9TrickledUploads has 1,000 uploads that send most of their bytes at once and then single
// bytes. The server must need little memory for them and lose nothing.
func TestD9TrickledUploads(t *testing.T) {
	const (
		uploads = 1000
		burst   = 400_000
		size    = burst + 2
		most    = 80 << 20
	)
	b := startBerth(t, options{Env: []string{"BERTH_LOG_LEVEL=warn"}})
	call := newCaller(b.URL)
	c := newContent(1, size, digest.SHA256)
	text := bodyOf(c, size)
	conns := make([]net.Conn, uploads)
	var sessions []session
	for range uploads {
		s, a := call.open("team/app", "")
		if a.status != http.StatusAccepted {
			t.Fatalf("POST: %v", a)
		}
		sessions = append(sessions, s)
	}
	begin := b.bytesRead()
	send := func(from, to int64) {
		t.Helper()
		var wg sync.WaitGroup
		for _, conn := range conns {
			wg.Go(func() {
				if _, err := io.WriteString(conn, text[from:to]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		b.awaitBytesRead(begin + uploads*to)
	}
	for i, s := range sessions {
		conn, err := net.Dial("tcp", b.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", strings.TrimPrefix(s.url, b.URL), size)
	}
	send(0, burst)
	time.Sleep(1500 * time.Millisecond) // a body that needs more than a second to fill its large buffer loses it
	send(burst, burst+1)
	if peak := b.peakMemory(); peak > most {
		t.Errorf("%d uploads that trickle took %d MiB of memory, want at most %d", uploads, peak>>20, most>>20)
	}
	for _, i := range []int{0, uploads - 1} {
		if _, err := io.WriteString(conns[i], text[burst+1:]); err != nil {
			t.Error(err)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(conns[i]), nil); err != nil || resp.StatusCode != http.StatusAccepted {
			t.Errorf("a PATCH that trickled: %v, %v", resp, err)
		}
		if a := call.put(sessions[i], c, size); a.status != http.StatusCreated {
			t.Errorf("the end of an upload that trickled: %v", a)
		}
	}
	b.Kill() // on SIGTERM it would record all other uploads
}

// count runs a query that returns a number, on the database of the running server.
func (s *server) count(query string) (n int) {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Data, "berth.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// TestD9NamesWithoutContent opens uploads in 4,000 repositories that never get content. After the
// uploads expire, these repositories must have no rows.
func TestD9NamesWithoutContent(t *testing.T) {
	const names, kept = 4000, "team/kept"
	b := startBerth(t, options{Env: []string{
		"BERTH_LOG_LEVEL=warn", "BERTH_STORAGE_UPLOAD_EXPIRY=5s", unlimited,
	}})
	call := newCaller(b.URL)
	if a := call.post(kept, newContent(1, 1000, digest.SHA256)); a.status != http.StatusCreated {
		t.Fatalf("push: %v", a)
	}
	work := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range work {
				if _, a := call.open(fmt.Sprintf("team/%d", i), ""); a.status != http.StatusAccepted {
					t.Errorf("POST: %v", a)
				}
			}
		})
	}
	for i := range names {
		work <- i
	}
	close(work)
	wg.Wait()
	if !poll(patience, func() bool { return b.count("SELECT COUNT(*) FROM uploads") == 0 }) {
		t.Fatal("the uploads do not expire")
	}
	if n := b.count("SELECT COUNT(*) FROM repositories"); n != 1 {
		t.Errorf("%d repositories have rows, want the one with content", n)
	}
}

// TestD9UnreadHTTP2 sends large manifests on many HTTP/2 connections at once. The server must not
// read the bodies while they wait for memory.
func TestD9UnreadHTTP2(t *testing.T) {
	const connections, each, most = 40, 2, 236 << 20
	ca := newAuthority(t, "127.0.0.1")
	b := startBerth(t, options{TLS: ca, Env: []string{"BERTH_LOG_LEVEL=warn"}})
	body := "{" + strings.Repeat(" ", 4<<20-2) + "}"
	var wg sync.WaitGroup
	var second, first atomic.Int64
	for i := range connections {
		transport := &http.Transport{TLSClientConfig: ca.config(), ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		for j := range each {
			wg.Go(func() {
				req, err := http.NewRequest("PUT", fmt.Sprintf("%s/v2/team/app/manifests/t%d-%d", b.URL, i, j), strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", ociManifest)
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("a manifest of spaces is answered %d", resp.StatusCode)
				}
				if resp.ProtoMajor == 2 {
					second.Add(1)
				} else {
					first.Add(1)
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d requests over HTTP/2 and %d over HTTP/1.1, peak %d MiB", second.Load(), first.Load(), b.peakMemory()>>20)
	if peak := b.peakMemory(); peak > most {
		t.Errorf("%d connections of HTTP/2 took %d MiB of memory, want at most %d", connections, peak>>20, most>>20)
	}
	if second.Load() == 0 {
		t.Error("nobody spoke HTTP/2")
	}
}

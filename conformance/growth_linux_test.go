package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// peak is the most memory that the process ever had, in bytes.
func (s *server) peak() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		s.t.Error(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(after, &kib); err != nil {
		s.t.Errorf("VmHWM: %v", err)
	}
	return kib << 10
}

// taken is how many bytes the process has read so far, from sockets and files.
func (s *server) taken() (n int64) {
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.Pid()))
	if err != nil {
		s.t.Error(err)
	}
	if _, err := fmt.Sscanf(string(io), "rchar: %d", &n); err != nil {
		s.t.Errorf("rchar: %v", err)
	}
	return n
}

// awaitTaken waits until the process has read so much.
func (s *server) awaitTaken(n int64) {
	s.t.Helper()
	for end := time.Now().Add(patience); s.taken() < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the server has read %d bytes, want %d", s.taken(), n)
		}
	}
}

// TestD9TrickledUploads lets 1,000 uploads send much at once and then a byte now and then, for as long as
// they like. They cost little memory, and lose nothing.
func TestD9TrickledUploads(t *testing.T) {
	const (
		uploads = 1000
		burst   = 400_000
		size    = burst + 2
		most    = 100 << 20
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
	begin := b.taken()
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
		b.awaitTaken(begin + uploads*to)
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
	time.Sleep(1500 * time.Millisecond) // a body of which nothing comes for so long is a slow one
	send(burst, burst+1)
	if peak := b.peak(); peak > most {
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
	b.Kill() // or it would record what came of all the others
}

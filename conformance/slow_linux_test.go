package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// slowBlob is larger than the kernel's buffers for a client that does not read.
const slowBlob = 64 << 20

// pushParts pushes a blob with a number of PATCHes.
func (l *limited) pushParts(repo string, c content, parts int64) {
	l.t.Helper()
	s := l.open(repo)
	for i := range parts {
		from, to := c.size*i/parts, c.size*(i+1)/parts
		a := l.call.patch(s, c, from, to-from, true)
		if a.status != http.StatusAccepted {
			l.t.Fatalf("PATCH: %v", a)
		}
		s = l.call.sessionAt(a)
	}
	if a := l.call.put(s, c, c.size); a.status != http.StatusCreated {
		l.t.Fatalf("PUT: %v", a)
	}
}

// TestStalledReader requests large blobs, of one part and of several, and never reads them. The
// server must cut the connections, and must not end the answers as if they were complete.
func TestStalledReader(t *testing.T) {
	const repo, each = "team/app", 10
	l := startLimited(t)
	var conns []net.Conn
	for i, parts := range []int64{1, 3} {
		c := newContent(uint64(50+i), slowBlob, digest.SHA256)
		l.pushParts(repo, c, parts)
		for range each {
			conn := l.dial("GET /v2/" + repo + "/blobs/" + c.digest.String() + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
			conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			conns = append(conns, conn)
		}
	}
	l.requireServing()
	if rss := l.resident(); rss > 512<<20 {
		t.Errorf("%d MiB of memory for %d clients that do not read", rss>>20, len(conns))
	}
	l.requireReleased()
	for _, conn := range conns {
		if n := len(requireCut(t, conn)); n >= slowBlob {
			t.Errorf("a client that did not read for long got %d bytes, as if nothing had been", n)
		}
	}
	l.requireServing()
}

// TestSlowUpload sends some bytes at intervals below http.body_timeout, for several times that
// limit. The server must not cut it.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	const repo, steps = "team/app", 20
	l := startLimited(t)
	c := newContent(60, steps*1000, digest.SHA256)
	s := l.open(repo)
	for _, line := range []string{"PATCH " + l.path(s), "POST /v2/" + repo + "/blobs/uploads/?digest=" + c.digest.String()} {
		t.Run(line[:5], func(t *testing.T) {
			conn := l.dial(fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", line, c.size))
			body := c.slice(0, c.size)
			for range steps {
				if _, err := io.CopyN(conn, body, c.size/steps); err != nil {
					t.Fatalf("a slow upload was cut: %v", err)
				}
				time.Sleep(bodyLimit / 5)
			}
			conn.SetReadDeadline(time.Now().Add(patience))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("a slow upload: %v", err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusCreated {
				t.Errorf("a slow upload is answered %d", resp.StatusCode)
			}
		})
	}
	l.requireResumed(repo, s, c, c.size)
}

// TestSlowDownload reads some bytes at intervals below http.body_timeout, for several times that
// limit. The server must not cut it.
func TestSlowDownload(t *testing.T) {
	t.Parallel()
	const repo, step = "team/app", 1 << 20
	l := startLimited(t)
	for i, parts := range []int64{1, 3} {
		t.Run(fmt.Sprintf("%d parts", parts), func(t *testing.T) {
			c := newContent(uint64(70+i), slowBlob, digest.SHA256)
			l.pushParts(repo, c, parts)
			resp, err := http.Get(l.URL + "/v2/" + repo + "/blobs/" + c.digest.String())
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			verifier := c.digest.Verifier()
			for {
				n, err := io.CopyN(verifier, resp.Body, step)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("a slow download was cut after %d more bytes: %v", n, err)
				}
				time.Sleep(3 * bodyLimit * step / slowBlob) // in total three times the limit
			}
			if !verifier.Verified() {
				t.Error("a slow download got other bytes")
			}
		})
	}
}

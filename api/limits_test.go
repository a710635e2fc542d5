package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage"
)

const (
	// limit is the body timeout of tests in a bubble, where waiting takes no time.
	testBodyTimeout = 20 * time.Second
	// almost is as long as a body may surely stand still: deadlines are moved once in a second.
	withinTimeout = testBodyTimeout - 2*time.Second
)

// ended reads what a server says until it ends the connection, in whatever way.
func readUntilClosed(conn net.Conn) string {
	said, _ := io.ReadAll(conn)
	return string(said)
}

// TestStalledBody stalls in the middle of each kind of body. What is stored
// whole or not at all is not stored; a PATCH keeps what arrived.
func TestStalledBody(t *testing.T) { synctest.Test(t, stallBodies) }

func stallBodies(t *testing.T) {
	s, _ := serveInBubble(t, newRegistry(t, "mem://", storage.Options{}), Options{BodyTimeout: testBodyTimeout})
	s.openUpload("team/app")
	url, _ := s.savedUpload()
	d := sha256Of("0123456789")
	for _, line := range []string{
		"POST " + uploads + "?digest=" + d,
		"PUT " + url + "?digest=" + d,
		"PUT /v2/team/app/manifests/v1",
		"PUT /v2/team/app/manifests/" + d,
		"PATCH " + url,
	} {
		for _, kind := range []string{"Content-Length: 10\r\n\r\n0123", "Transfer-Encoding: chunked\r\n\r\na\r\n0123"} {
			if strings.HasPrefix(line, "PATCH") && kind[0] == 'T' {
				continue // goes on where the first left off, below
			}
			said := readUntilClosed(s.dial(line + " HTTP/1.1\r\nHost: localhost\r\n" + kind))
			if !strings.HasPrefix(said, "HTTP/1.1 408 ") || !strings.Contains(said, "BLOB_UPLOAD_INVALID") {
				t.Errorf("%s that stalls is answered %q", line, said)
			}
		}
	}
	s.runCases([]exchangeCase{
		{Name: "what arrived is there", Method: "GET", URL: url, WantCode: 204, WantHeader: uploadHeader("0-3")},
		{Name: "the rest", Method: "PUT", URL: url + "?digest=" + d, Header: contentRange("4-9"), Body: "456789", WantCode: 201},
		{Name: "no manifest", Method: "HEAD", URL: "/v2/team/app/manifests/v1", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
	})
	// Bodies that nobody reads.
	for _, line := range []string{"GET /v2/", "DELETE /v2/team/app/manifests/v1", "POST " + uploads, "GET /nowhere"} {
		readUntilClosed(s.dial(line + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123"))
	}
}

// TestBrokenBody hangs up in the middle.
func TestBrokenBody(t *testing.T) {
	s := newSite(t, Options{})
	s.openUpload("team/app")
	url, _ := s.savedUpload()
	d := sha256Of("0123456789")
	for _, line := range []string{"POST " + uploads + "?digest=" + d, "PUT " + url + "?digest=" + d, "PATCH " + url} {
		conn := s.dial(line + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123")
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if said := readUntilClosed(conn); !strings.HasPrefix(said, "HTTP/1.1 400 ") || !strings.Contains(said, "BLOB_UPLOAD_INVALID") {
			t.Errorf("%s that ends early is answered %q", line, said)
		}
	}
	s.exchange(exchangeCase{Name: "what arrived is there", Method: "GET", URL: url, WantCode: 204, WantHeader: uploadHeader("0-3")})
}

// TestSlowBody sends a byte now and then, each within the limit and all of them
// not.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const content = "0123456789"
		s, _ := serveInBubble(t, newRegistry(t, "mem://", storage.Options{}), Options{BodyTimeout: testBodyTimeout})
		d := sha256Of(content)
		conn := s.dial("POST " + uploads + "?digest=" + d + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
		for _, b := range content {
			time.Sleep(withinTimeout)
			fmt.Fprint(conn, string(b))
		}
		resp, body := s.readAnswer(conn, "POST")
		s.check(exchangeCase{Name: "slow", Method: "POST", URL: uploads, WantCode: 201, WantHeader: header{"Docker-Content-Digest": d}}, resp, body)
	})
}

// slowCommit is a registry that takes longer for a blob than a body may stall.
type slowPutBlob struct{ Registry }

func (r slowPutBlob) PutBlob(ctx context.Context, caller storage.Caller, repo string, d digest.Digest, c storage.Chunk) (storage.Blob, error) {
	if _, err := io.Copy(io.Discard, c.Body); err != nil {
		return storage.Blob{}, err
	}
	time.Sleep(3 * testBodyTimeout)
	return storage.Blob{Digest: d}, ctx.Err()
}

// TestBodyLimitEnds sees that the limit on a body ends with the body: a request
// may take as long as it needs after that.
func TestBodyLimitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := serveInBubble(t, slowPutBlob{}, Options{BodyTimeout: testBodyTimeout})
		s.exchange(exchangeCase{Name: "slow", Method: "POST", URL: uploads + "?digest=" + sha256Of("x"), Body: "x", WantCode: 201})
	})
}

// readSlowly serves a large blob of each kind in a bubble, and hands its answer on.
func readSlowly(t *testing.T, f func(t *testing.T, s *site, content string, answer *http.Response)) {
	content := strings.Repeat("0123456789abcdef", 256<<10) // 4 MiB: several pieces of a file
	for _, kind := range []string{"file://", "mem://"} {
		synctest.Test(t, func(t *testing.T) {
			url := kind
			if kind == "file://" {
				url += t.TempDir()
			}
			s, via := serveInBubble(t, newRegistry(t, url, storage.Options{}), Options{BodyTimeout: testBodyTimeout})
			d := s.pushBlob("team/app", content)
			req, err := http.NewRequest("GET", "http://localhost/v2/team/app/blobs/"+d, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := via("192.0.2.1:1", 1).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			f(t, s, content, answer)
		})
	}
}

// TestStalledReader reads nothing of an answer.
func TestStalledReader(t *testing.T) {
	readSlowly(t, func(t *testing.T, s *site, content string, answer *http.Response) {
		s.log.await(`"method":"GET"`, `"route":"blob"`, `"cut":"`)
		if n, err := io.Copy(io.Discard, answer.Body); err == nil || n >= int64(len(content)) {
			t.Errorf("a client that did not read got %d bytes, %v", n, err)
		}
	})
}

// TestReaderThatReturns reads nothing for a while, a little, and so on, and then all. It is alive,
// if slow, and gets all of it.
func TestReaderThatReturns(t *testing.T) {
	readSlowly(t, func(t *testing.T, s *site, content string, answer *http.Response) {
		var got strings.Builder
		for range 6 {
			time.Sleep(withinTimeout)
			// Less than the first piece of a file, so that its deadline passes with some of it
			// taken.
			if _, err := io.CopyN(&got, answer.Body, 200<<10); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(&got, answer.Body); err != nil || got.String() != content {
			t.Errorf("%d of %d bytes: %v", got.Len(), len(content), err)
		}
	})
}

// TestInterrupt ends the bodies that are coming in, and those to come.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := serveInBubble(t, newRegistry(t, "mem://", storage.Options{}), Options{})
		s.openUpload("team/app")
		url, _ := s.savedUpload()
		line := "PATCH " + url + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"
		conn := s.dial(line + "0123")
		s.bodyBytes.await(4)
		s.Interrupt()
		resp, body := s.readAnswer(conn, "PATCH")
		s.check(exchangeCase{Name: "interrupted", Method: "PATCH", URL: url, WantCode: 503, WantHeader: uploadHeader("0-3"), WantError: "UNAVAILABLE"}, resp, body)
		if resp.Header.Get("Retry-After") == "" {
			t.Error("an interrupted client is not told to try again")
		}
		resp, body = s.sendRaw(line+"0123", "PATCH")
		s.check(exchangeCase{Name: "too late", Method: "PATCH", URL: url, WantCode: 503, WantHeader: uploadHeader("0-3"), WantError: "UNAVAILABLE"}, resp, body)
		s.exchange(exchangeCase{Name: "without a body", Method: "GET", URL: url, WantCode: 204, WantHeader: uploadHeader("0-3")})
	})
}

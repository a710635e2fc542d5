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
	// testBodyTimeout is the body timeout of tests in a bubble, where waiting takes no real time.
	testBodyTimeout = 20 * time.Second
	// withinTimeout is a time that a body may always stall: deadlines are moved only once a second.
	withinTimeout = testBodyTimeout - 2*time.Second
)

// readUntilClosed returns all that a server sends until it closes the connection or resets it.
func readUntilClosed(conn net.Conn) string {
	said, _ := io.ReadAll(conn)
	return string(said)
}

// TestStalledBody stalls in the middle of each kind of body. A PATCH keeps the bytes that arrived,
// the other requests store nothing.
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
				continue // would continue the first PATCH
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
	// Bodies that are drained after an error.
	for _, line := range []string{"GET /v2/", "DELETE /v2/team/app/manifests/v1", "POST " + uploads, "GET /nowhere"} {
		readUntilClosed(s.dial(line + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123"))
	}
}

// TestBrokenBody closes the connection in the middle of a body.
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

// TestSlowBody sends bytes at intervals that are shorter than the body timeout, for longer than the
// body timeout in total.
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

// slowPutBlob is a registry whose PutBlob takes longer than a body may stall.
type slowPutBlob struct{ Registry }

func (r slowPutBlob) PutBlob(ctx context.Context, caller storage.Caller, repo string, d digest.Digest, c storage.Chunk) (storage.Blob, error) {
	if _, err := io.Copy(io.Discard, c.Body); err != nil {
		return storage.Blob{}, err
	}
	time.Sleep(3 * testBodyTimeout)
	return storage.Blob{Digest: d}, ctx.Err()
}

// TestBodyLimitEnds checks that the body timeout ends with the body: the handler may take longer.
func TestBodyLimitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := serveInBubble(t, slowPutBlob{}, Options{BodyTimeout: testBodyTimeout})
		s.exchange(exchangeCase{Name: "slow", Method: "POST", URL: uploads + "?digest=" + sha256Of("x"), Body: "x", WantCode: 201})
	})
}

// readSlowly serves a large blob from files and from memory in a bubble, and calls f with the
// answer.
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

// TestReaderThatReturns pauses, reads a little, and repeats that before it reads the rest. A slow
// reader gets the whole answer.
func TestReaderThatReturns(t *testing.T) {
	readSlowly(t, func(t *testing.T, s *site, content string, answer *http.Response) {
		var got strings.Builder
		for range 6 {
			time.Sleep(withinTimeout)
			// Less than the first piece of a file, so that the deadline passes in the middle of it.
			if _, err := io.CopyN(&got, answer.Body, 200<<10); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(&got, answer.Body); err != nil || got.String() != content {
			t.Errorf("%d of %d bytes: %v", got.Len(), len(content), err)
		}
	})
}

// TestInterrupt ends the bodies that are being received, and later ones.
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

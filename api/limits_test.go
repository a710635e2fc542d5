package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage"
)

// short is a limit that a test waits for. Nothing is asserted about how long
// that takes.
const short = 300 * time.Millisecond

// ended reads what a server says until it ends the connection.
func ended(t *testing.T, conn net.Conn) string {
	t.Helper()
	said, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection was not ended")
	}
	return string(said)
}

// TestStalledBody stalls in the middle of each kind of body. What is stored
// whole or not at all is not stored; a PATCH keeps what arrived.
func TestStalledBody(t *testing.T) {
	s := newSite(t, Options{BodyTimeout: short})
	s.open("team/app")
	url, _ := s.session()
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
			said := ended(t, s.dial(line+" HTTP/1.1\r\nHost: localhost\r\n"+kind))
			if !strings.HasPrefix(said, "HTTP/1.1 408 ") || !strings.Contains(said, "BLOB_UPLOAD_INVALID") {
				t.Errorf("%s that stalls is answered %q", line, said)
			}
		}
	}
	s.run([]exchangeCase{
		{"what arrived is there", "GET", url, nil, "", 204, at("0-3"), "", "", "", ""},
		{"the rest", "PUT", url + "?digest=" + d, rng("4-9"), "456789", 201, nil, "", "", "", ""},
		{"no manifest", "HEAD", "/v2/team/app/manifests/v1", nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
	})
	// Bodies that nobody reads.
	for _, line := range []string{"GET /v2/", "DELETE /v2/team/app/manifests/v1", "POST " + uploads, "GET /nowhere"} {
		ended(t, s.dial(line+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123"))
	}
}

// TestBrokenBody hangs up in the middle.
func TestBrokenBody(t *testing.T) {
	s := newSite(t, Options{})
	s.open("team/app")
	url, _ := s.session()
	d := sha256Of("0123456789")
	for _, line := range []string{"POST " + uploads + "?digest=" + d, "PUT " + url + "?digest=" + d, "PATCH " + url} {
		conn := s.dial(line + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123")
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if said := ended(t, conn); !strings.HasPrefix(said, "HTTP/1.1 400 ") || !strings.Contains(said, "BLOB_UPLOAD_INVALID") {
			t.Errorf("%s that ends early is answered %q", line, said)
		}
	}
	s.exchange(exchangeCase{Name: "what arrived is there", Method: "GET", URL: url, WantCode: 204, WantHeader: at("0-3")})
}

// TestSlowBody sends a byte now and then, each within the limit and all of them
// not.
func TestSlowBody(t *testing.T) {
	const limit, content = 2 * time.Second, "0123456789"
	s := newSite(t, Options{BodyTimeout: limit})
	d := sha256Of(content)
	conn := s.dial("POST " + uploads + "?digest=" + d + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
	for _, b := range content {
		time.Sleep(limit / 5)
		fmt.Fprint(conn, string(b))
	}
	resp, body := s.answerOn(conn, "POST")
	s.check(exchangeCase{Name: "slow", Method: "POST", URL: uploads, WantCode: 201, WantHeader: header{"Docker-Content-Digest": d}}, resp, body)
}

// slowCommit is a registry that takes longer for a blob than a body may stall.
type slowCommit struct{ Registry }

func (r slowCommit) PutBlob(ctx context.Context, caller storage.Caller, repo string, d digest.Digest, c storage.Chunk) (storage.Blob, error) {
	if _, err := io.Copy(io.Discard, c.Body); err != nil {
		return storage.Blob{}, err
	}
	time.Sleep(3 * short)
	return storage.Blob{Digest: d}, ctx.Err()
}

// TestBodyLimitEnds sees that the limit on a body ends with the body: a request
// may take as long as it needs after that.
func TestBodyLimitEnds(t *testing.T) {
	s := serveRegistry(t, slowCommit{}, Options{BodyTimeout: short})
	s.exchange(exchangeCase{Name: "slow", Method: "POST", URL: uploads + "?digest=" + sha256Of("x"), Body: "x", WantCode: 201})
}

// TestStalledReader asks for more than the kernel buffers and reads nothing.
func TestStalledReader(t *testing.T) {
	for _, kind := range []string{"file://" + t.TempDir(), "mem://"} {
		registry := newRegistry(t, kind, storage.Options{})
		content := strings.Repeat("x", 32<<20)
		d := serveRegistry(t, registry, Options{}).pushBlob("team/app", content)
		s := serveRegistry(t, registry, Options{BodyTimeout: short})
		conn := s.dial("GET /v2/team/app/blobs/" + d + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
		s.log.await(`"method":"GET"`, `"route":"blob"`, `"cut":"`)
		if got := ended(t, conn); len(got) >= len(content) {
			t.Errorf("%.7s: a client that did not read got all", kind)
		}
	}
}

// TestReaderThatReturns reads nothing for a while, a little, and then all. It
// is alive, if slow, and gets all of it.
func TestReaderThatReturns(t *testing.T) {
	const limit = 2 * time.Second
	for _, kind := range []string{"file://" + t.TempDir(), "mem://"} {
		registry := newRegistry(t, kind, storage.Options{})
		content := strings.Repeat("0123456789abcdef", 4<<20)
		d := serveRegistry(t, registry, Options{}).pushBlob("team/app", content)
		s := serveRegistry(t, registry, Options{BodyTimeout: limit})
		resp, err := http.Get("http://" + s.addr + "/v2/team/app/blobs/" + d)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got strings.Builder
		for range 6 {
			time.Sleep(limit / 4)
			// As much as makes the kernel ask for more.
			if _, err := io.CopyN(&got, resp.Body, 6<<20); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(&got, resp.Body); err != nil || got.String() != content {
			t.Errorf("%.7s: %d of %d bytes: %v", kind, got.Len(), len(content), err)
		}
	}
}

// TestInterrupt ends the bodies that are coming in, and those to come.
func TestInterrupt(t *testing.T) {
	s := newSite(t, Options{})
	s.open("team/app")
	url, _ := s.session()
	line := "PATCH " + url + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"
	before := s.read.Load()
	conn := s.dial(line + "0123")
	for s.read.Load() < before+4 {
		time.Sleep(time.Millisecond)
	}
	s.Interrupt()
	resp, body := s.answerOn(conn, "PATCH")
	s.check(exchangeCase{Name: "interrupted", Method: "PATCH", URL: url, WantCode: 503, WantHeader: at("0-3"), WantError: "UNAVAILABLE"}, resp, body)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("an interrupted client is not told to try again")
	}
	resp, body = s.raw(line+"0123", "PATCH")
	s.check(exchangeCase{Name: "too late", Method: "PATCH", URL: url, WantCode: 503, WantHeader: at("0-3"), WantError: "UNAVAILABLE"}, resp, body)
	s.exchange(exchangeCase{Name: "without a body", Method: "GET", URL: url, WantCode: 204, WantHeader: at("0-3")})
}

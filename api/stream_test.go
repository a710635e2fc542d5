package api

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-registry/berth/storage"
)

// http2Client is an HTTP/2 client of a site in a bubble.
type http2Client struct {
	*site
	via http.RoundTripper
}

func newHTTP2Client(t *testing.T, registry Registry, o Options) http2Client {
	t.Helper()
	s, via := serveInBubble(t, registry, o)
	return http2Client{s, via("192.0.2.1:1", 2)}
}

// do sends a request and returns its answer, whose body is closed when the test ends.
func (s http2Client) do(method, path string, body io.Reader) *http.Response {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://localhost"+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.via.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	if resp.ProtoMajor != 2 {
		s.t.Errorf("%s %s is answered over %s", method, path, resp.Proto)
	}
	return resp
}

// openPatch opens an upload session, sends a part of a body to it, and leaves the body open until
// the test ends. It returns the answer.
func (s http2Client) openPatch() *http.Response {
	s.t.Helper()
	at := s.do("POST", uploads, nil).Header.Get("Location")
	body, sender := io.Pipe()
	s.t.Cleanup(func() { sender.Close() })
	go sender.Write([]byte("0123"))
	return s.do("PATCH", at, body)
}

// TestStreamLimits stalls one stream of a connection, in each direction. It ends, and the other
// streams go on.
func TestStreamLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHTTP2Client(t, newRegistry(t, "mem://", storage.Options{}), Options{BodyTimeout: testBodyTimeout})
		content := strings.Repeat("x", 16<<20) // more than the window of a client that does not read
		d := s.pushBlob("team/app", content)
		// A body that stalls gets an answer, and the bytes that arrived are kept.
		if resp := s.openPatch(); resp.StatusCode != http.StatusRequestTimeout || resp.Header.Get("Range") != "0-3" {
			t.Errorf("a body that stalls is answered %d, %v", resp.StatusCode, resp.Header)
		}
		s.do("GET", "/v2/", nil)
		// The answer to a client that reads nothing is cut.
		slow := s.do("GET", "/v2/team/app/blobs/"+d, nil)
		s.log.await(`"method":"GET"`, `"route":"blob"`, `"cut":"`)
		if n, err := io.Copy(io.Discard, slow.Body); err == nil || n >= int64(len(content)) {
			t.Errorf("a client that did not read got %d bytes, %v", n, err)
		}
		s.do("GET", "/v2/", nil)
	})
}

// TestStreamInterrupt checks that Interrupt ends bodies on streams too.
func TestStreamInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHTTP2Client(t, newRegistry(t, "mem://", storage.Options{}), Options{})
		go func() {
			s.bodyBytes.await(4)
			s.Interrupt()
		}()
		if resp := s.openPatch(); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Range") != "0-3" {
			t.Errorf("a body that is interrupted is answered %d, %v", resp.StatusCode, resp.Header)
		}
	})
}

// TestSlowStream sends bytes at intervals that are shorter than the body timeout, for longer than
// it in total. The deadline for writing must not end a stream before its answer is written.
func TestSlowStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const content = "01234567"
		s := newHTTP2Client(t, newRegistry(t, "mem://", storage.Options{}), Options{BodyTimeout: testBodyTimeout})
		body, sender := io.Pipe()
		go func() {
			for _, b := range content {
				time.Sleep(withinTimeout)
				sender.Write([]byte(string(b)))
			}
			sender.Close()
		}()
		if resp := s.do("POST", uploads+"?digest="+sha256Of(content), body); resp.StatusCode != http.StatusCreated {
			t.Errorf("a slow body is answered %d", resp.StatusCode)
		}
	})
}

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

// streams is a client of a site in a bubble, which speaks HTTP/2.
type http2Client struct {
	*site
	via http.RoundTripper
}

func newHTTP2Client(t *testing.T, registry Registry, o Options) http2Client {
	t.Helper()
	s, via := serveInBubble(t, registry, o)
	return http2Client{s, via("192.0.2.1:1", 2)}
}

// ask sends a request and returns its answer, whose body is closed when the test ends.
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

// patch opens a session and sends a part of a body to it, which does not end before the test. It
// returns the answer.
func (s http2Client) openPatch() *http.Response {
	s.t.Helper()
	at := s.do("POST", uploads, nil).Header.Get("Location")
	body, sender := io.Pipe()
	s.t.Cleanup(func() { sender.Close() })
	go sender.Write([]byte("0123"))
	return s.do("PATCH", at, body)
}

// TestStreamLimits stalls on one stream of a connection, in each direction: its time
// ends, and the other streams go on.
func TestStreamLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHTTP2Client(t, newRegistry(t, "mem://", storage.Options{}), Options{BodyTimeout: testBodyTimeout})
		content := strings.Repeat("x", 16<<20) // more than a client takes that does not read
		d := s.pushBlob("team/app", content)
		// A body that stalls is answered, and what arrived is kept.
		if resp := s.openPatch(); resp.StatusCode != http.StatusRequestTimeout || resp.Header.Get("Range") != "0-3" {
			t.Errorf("a body that stalls is answered %d, %v", resp.StatusCode, resp.Header)
		}
		s.do("GET", "/v2/", nil)
		// A reader that reads nothing is cut off.
		slow := s.do("GET", "/v2/team/app/blobs/"+d, nil)
		s.log.await(`"method":"GET"`, `"route":"blob"`, `"cut":"`)
		if n, err := io.Copy(io.Discard, slow.Body); err == nil || n >= int64(len(content)) {
			t.Errorf("a client that did not read got %d bytes, %v", n, err)
		}
		s.do("GET", "/v2/", nil)
	})
}

// TestStreamInterrupt: the end of a shutdown ends bodies on streams as well.
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

// TestSlowStream sends a byte now and then, each within the limit and all of them
// not: the limit on writing must not end a stream on which nothing is written yet.
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

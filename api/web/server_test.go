package web

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestStalledHeader sends an incomplete header.
func TestStalledHeader(t *testing.T) {
	const limit = 7 * time.Second
	for _, text := range []string{"", "G", "GET / HTTP/1.1\r\nHost: localhost\r\nX-"} {
		inBubble(t, Options{HeaderTimeout: limit}, func(s *site) {
			c := s.dial(usual)
			io.WriteString(c, text)
			if _, err := io.ReadAll(c.r); err != nil || time.Since(c.began) != limit {
				t.Errorf("with %q a connection was closed after %v, %v", text, time.Since(c.began), err)
			}
		})
	}
}

func TestHeaderSize(t *testing.T) {
	line := "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Long: "
	for size, want := range map[int]int{63 << 10: 200, 65 << 10: 431, 1 << 20: 431} {
		inBubble(t, Options{}, func(s *site) {
			c := s.dial(usual)
			go fmt.Fprint(c, line+strings.Repeat("x", size)+"\r\n\r\n") // the server may answer before it has read all of it
			s.answered(c, want)
		})
	}
	if n := New(Options{MaxHeaderBytes: 10}).HTTP(nil).MaxHeaderBytes; n <= 0 {
		t.Errorf("a small limit becomes %d, which is net/http's own", n)
	}
}

// TestDefaults checks the defaults of a server.
func TestDefaults(t *testing.T) {
	server := New(Options{}).HTTP(nil)
	if server.ReadHeaderTimeout != defaultHeaderTimeout || server.MaxHeaderBytes+headerSlop != defaultMaxHeaderBytes ||
		server.ReadTimeout != 0 || server.WriteTimeout != 0 || server.IdleTimeout == 0 {
		t.Errorf("the server is %+v", server)
	}
}

// TestHandshakeErrorsAreQuiet: any client that connects can cause such an error, so it is no
// warning.
func TestHandshakeErrorsAreQuiet(t *testing.T) {
	var lines bytes.Buffer
	s := New(Options{Log: slog.New(slog.NewTextHandler(&lines, nil))})
	errors := s.HTTP(nil).ErrorLog
	errors.Printf("http: TLS handshake error from 192.0.2.1:1: EOF")
	if lines.Len() > 0 {
		t.Errorf("logged: %s", &lines)
	}
	errors.Printf("http: panic serving 192.0.2.1:1")
	if got := lines.String(); !strings.Contains(got, `level=WARN msg="http: panic serving 192.0.2.1:1"`) {
		t.Errorf("logged: %q", got)
	}
}

// closeRecorder is a body that records whether it was closed.
type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error {
	c.closed = true
	return nil
}

// bodyChecker is a ResponseWriter that records whether the request's body was closed before the
// header was written.
type bodyChecker struct {
	*httptest.ResponseRecorder
	body       *closeRecorder
	bodyClosed bool
}

func (w *bodyChecker) WriteHeader(status int) {
	w.bodyClosed = w.body.closed
	w.ResponseRecorder.WriteHeader(status)
}

// TestUnreadBodyIsClosed: an HTTP/2 stream with a slow answer holds no body that its handler does
// not read.
func TestUnreadBodyIsClosed(t *testing.T) {
	s := newSite(t, Options{})
	s.answers["/upload"] = func(x *Exchange) {
		io.Copy(io.Discard, x.Body)
		say(x, http.StatusCreated, "")
	}
	for _, test := range []struct {
		method, path string
		version      int
		given        bool
	}{
		{"GET", "/", 2, true},
		{"HEAD", "/", 2, true},
		{"GET", "/", 1, false}, // net/http would have to drain it first
		{"POST", "/upload", 2, false},
	} {
		w := &bodyChecker{ResponseRecorder: httptest.NewRecorder(), body: &closeRecorder{Reader: strings.NewReader("bytes")}}
		req := httptest.NewRequest(test.method, test.path, w.body)
		req.ProtoMajor, req.ContentLength = test.version, 5
		s.ServeHTTP(w, req)
		if w.Code >= 300 || w.bodyClosed != test.given {
			t.Errorf("%s %s over HTTP/%d: %d, body given up %v, want %v", test.method, test.path, test.version, w.Code, w.bodyClosed, test.given)
		}
	}
}

package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-registry/berth/api/web/webtest"
)

// usual is the default address of clients.
const usual = "192.0.2.1:1"

// site is a Server under test, usually in a bubble of synctest.
type site struct {
	*Server
	t       *testing.T
	l       *webtest.Listener
	drained atomic.Int64 // sum of the calls of Options.Drained
	answers map[string]func(*Exchange)
	done    atomic.Int64 // calls of Handler.Over
}

// exchange is the Handler of a site.
type exchange struct {
	Exchange
	site *site
}

// Answer calls the site's function for the path. Without one the answer is 404.
func (x *exchange) Answer() {
	if answer, ok := x.site.answers[x.Request.URL.Path]; ok {
		answer(&x.Exchange)
		return
	}
	say(&x.Exchange, http.StatusNotFound, "not here")
}

func (x *exchange) Done() { x.site.done.Add(1) }

// say answers with a text and its Content-Length.
func say(x *Exchange, status int, text string) {
	x.Response.Header().Set("Content-Length", strconv.Itoa(len(text)))
	x.Response.WriteHeader(status)
	io.WriteString(&x.Response, text)
}

// newSite returns a site that is not served yet.
func newSite(t *testing.T, o Options) *site {
	s := &site{t: t, l: webtest.NewListener(), answers: map[string]func(*Exchange){
		"/": func(x *Exchange) { say(x, http.StatusOK, "here") },
	}}
	o.Drained = func(bytes int) { s.drained.Add(int64(bytes)) }
	s.Server = New(o)
	return s
}

// ServeHTTP answers one request.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{site: s}
	s.Serve(&x.Exchange, w, r, x)
}

// inBubble runs a test in a bubble of synctest with a served site. It checks that no connection
// lingers afterwards.
func inBubble(t *testing.T, o Options, f func(*site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// This cleanup runs last. net/http may still sleep, which has to end within the bubble.
		t.Cleanup(func() { time.Sleep(time.Minute) })
		s := newSite(t, o)
		t.Cleanup(func() {
			if n := s.lingering(); n != 0 {
				t.Errorf("%d connections linger when all are closed", n)
			}
		})
		server, done := s.HTTP(s), make(chan error, 1)
		go func() { done <- server.Serve(s.l) }()
		t.Cleanup(func() {
			server.Close()
			if err := <-done; err != http.ErrServerClosed {
				t.Error(err)
			}
		})
		f(s)
	})
}

// dial opens a connection from an address.
func (s *site) dial(from string) *client {
	s.t.Helper()
	conn, err := s.l.Dial(from)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return &client{conn, bufio.NewReader(conn), time.Now()}
}

// client is the client's end of a connection.
type client struct {
	net.Conn
	r     *bufio.Reader
	began time.Time // when it was opened, or got its first answer
}

// ask opens a connection, sends the head of a request and reads the answer.
func (s *site) ask(addr, head string, status int) *client {
	s.t.Helper()
	c := s.dial(addr)
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		s.t.Fatal(err)
	}
	s.answered(c, status)
	c.began = time.Now()
	return c
}

// answered reads an answer and returns its body.
func (s *site) answered(c *client, status int) string {
	s.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var body strings.Builder
	if _, err := io.Copy(&body, resp.Body); err != nil || resp.StatusCode != status {
		s.t.Fatalf("answered %d, %v, want %d", resp.StatusCode, err, status)
	}
	return body.String()
}

// closed waits for the server to close the connection, and returns how long that took since
// c.began. The server must send nothing more.
func (s *site) closed(c *client) time.Duration {
	s.t.Helper()
	if said, err := io.ReadAll(c.r); err != nil || len(said) > 0 {
		s.t.Errorf("after its answer a connection has %q, %v", said, err)
	}
	return time.Since(c.began)
}

// lingering returns the number of connections that linger.
func (s *site) lingering() int {
	synctest.Wait()
	s.lingers.mu.Lock()
	defer s.lingers.mu.Unlock()
	return len(s.lingers.open)
}

package api

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
	"github.com/berth-registry/berth/storage/meta"
)

// site is an API on a real registry, served over real connections.
type site struct {
	*API
	t         *testing.T
	addr      string                              // "127.0.0.1:41234"
	connect   func() (net.Conn, error)            // opens a connection to the server
	transport http.RoundTripper                   // uses such connections
	dialFrom  func(addr string) (net.Conn, error) // connects from an address; only in a bubble
	log       *logBuffer
	saved     map[string]string // by exchangeCase.Save
	bodyBytes byteCount         // bytes read of request bodies
}

// logBuffer collects log lines.
type logBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	lines chan struct{} // signaled when a line was added
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.lines <- struct{}{}:
	default:
	}
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// await waits for a line that contains all parts, and returns the first one.
func (l *logBuffer) await(parts ...string) string {
	for {
		for line := range strings.Lines(l.String()) {
			missing := false
			for _, part := range parts {
				missing = missing || !strings.Contains(line, part)
			}
			if !missing {
				return line
			}
		}
		<-l.lines
	}
}

// newRegistry returns a registry on an empty bucket and database.
func newRegistry(t testing.TB, bucketURL string, o storage.Options) *storage.Registry {
	t.Helper()
	return registryOn(t, newDB(t), testbucket.Open(t, bucketURL), o)
}

// newDB returns an empty database.
func newDB(t testing.TB) *meta.DB {
	t.Helper()
	return meta.New(dbtest.Open(t, dbtest.Memory))
}

// registryOn returns a registry on the given database and bucket, which are empty.
func registryOn(t testing.TB, db *meta.DB, b bucket.Store, o storage.Options) *storage.Registry {
	t.Helper()
	r, err := storage.Open(context.Background(), db, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serveRegistry serves a registry until the test ends.
func serveRegistry(t *testing.T, registry Registry, o Options) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newUnservedSite(t, registry, o)
	s.addr, s.transport = l.Addr().String(), http.DefaultTransport
	s.connect = func() (net.Conn, error) { return net.Dial("tcp", s.addr) }
	s.serveOn(l, s.server())
	return s
}

// newUnservedSite returns a site whose API is not served yet.
func newUnservedSite(t *testing.T, registry Registry, o Options) *site {
	t.Helper()
	s := &site{t: t, log: &logBuffer{lines: make(chan struct{}, 1)}, saved: make(map[string]string)}
	if o.Policy == nil {
		o.Policy = auth.Open{}
	}
	if o.LingerBytes == 0 {
		o.LingerBytes, o.LingerTime = 64<<20, 30*time.Second
	}
	o.Log = slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.API = New(registry, o)
	return s
}

// server returns the site's server, which counts the bytes that it reads of request bodies.
func (s *site) server() *http.Server {
	server := s.Server()
	handler := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := r.WithContext(r.Context()) // net/http keeps its own request and body
		counted.Body = countedBody{r.Body, &s.bodyBytes}
		handler.ServeHTTP(w, counted)
	})
	return server
}

// countedBody is a request body that counts the bytes read of it.
type countedBody struct {
	io.ReadCloser
	count *byteCount
}

func (b countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count.add(n)
	return n, err
}

// byteCount is a growing number of bytes that tests can wait for.
type byteCount struct {
	mu    sync.Mutex
	n     int64
	grown chan struct{} // closed when n grows; nil while no test waits
}

func (c *byteCount) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += int64(n)
	if c.grown != nil {
		close(c.grown)
		c.grown = nil
	}
}

// now returns the number, and a channel that is closed when it grows.
func (c *byteCount) now() (int64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grown == nil {
		c.grown = make(chan struct{})
	}
	return c.n, c.grown
}

// await waits until the number is at least n.
func (c *byteCount) await(n int64) {
	for {
		got, grown := c.now()
		if got >= n {
			return
		}
		<-grown
	}
}

// serveOn serves a site until the test ends, over TLS if the server has a certificate.
func (s *site) serveOn(l net.Listener, server *http.Server) {
	done := make(chan error, 1)
	serve := server.Serve
	if server.TLSConfig != nil {
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	go func() { done <- serve(l) }()
	s.t.Cleanup(func() {
		server.Close()
		if err := <-done; err != http.ErrServerClosed {
			s.t.Error(err)
		}
	})
}

func newSite(t *testing.T, o Options) *site {
	return serveRegistry(t, newRegistry(t, "mem://", storage.Options{}), o)
}

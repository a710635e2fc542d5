package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/cloud"
	"github.com/berth-registry/berth/storage/bucket/dir"
	"github.com/berth-registry/berth/storage/meta"
)

// site is an API on a real registry, served over a real connection.
type site struct {
	*API
	t     *testing.T
	addr  string                              // "127.0.0.1:41234"
	conn  func() (net.Conn, error)            // opens a connection to it
	via   http.RoundTripper                   // over such connections
	from  func(addr string) (net.Conn, error) // a connection from an address; in a bubble alone
	log   *logBuffer
	saved map[string]string // what an exchange's Save kept
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	lines chan struct{} // has an element when there is something new
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

// await returns the first line that has all of the parts, waiting for it.
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
	return registryOn(t, newDB(t), newBucket(t, bucketURL), o)
}

// newDB returns an empty database.
func newDB(t testing.TB) *meta.DB {
	t.Helper()
	db, err := meta.Open(context.Background(), "sqlite::memory:", meta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// newBucket returns an empty bucket.
func newBucket(t testing.TB, url string) bucket.Store {
	t.Helper()
	l, err := bucket.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if l.Kind == bucket.Memory {
		return cloud.OpenMemory(bucket.Options{})
	}
	b, err := dir.Open(l.Dir, bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// registryOn returns a registry on an empty database and bucket, whatever the bucket is made of.
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
	s := newSiteOf(t, registry, o)
	s.addr, s.via = l.Addr().String(), http.DefaultTransport
	s.conn = func() (net.Conn, error) { return net.Dial("tcp", s.addr) }
	s.serveOn(l, s.Server())
	return s
}

// newSiteOf makes the API of a site, which is not served yet.
func newSiteOf(t *testing.T, registry Registry, o Options) *site {
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

// serveOn serves a site until the test ends.
func (s *site) serveOn(l net.Listener, server *http.Server) {
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
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

// header is a table's notation of a header: one value each.
type header map[string]string

// absent is the value of a header field that must not be there.
const absent = "\x00absent"

// exchange is one request and what its answer has to be. In URL and in the
// values of Header, "{name}" is what an earlier exchange saved under that name.
type exchangeCase struct {
	Name   string
	Method string
	URL    string
	Header header
	Body   string

	WantCode   int
	WantHeader header
	WantBody   string // the whole body; "" for any
	WantError  string // the code of the error body, and nothing else in it
	WantDetail string // a part of the error body's detail

	Save string // keeps Location under this name
}

// run has the exchanges one after the other.
func (s *site) run(cases []exchangeCase) {
	s.t.Helper()
	for _, c := range cases {
		s.exchange(c)
	}
}

func (s *site) exchange(c exchangeCase) (*http.Response, string) {
	s.t.Helper()
	var body io.Reader
	if c.Body != "" {
		body = strings.NewReader(c.Body)
	}
	req, err := http.NewRequest(c.Method, "http://"+s.addr, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if req.URL, err = req.URL.Parse(s.expand(c.URL)); err != nil {
		s.t.Fatal(err)
	}
	for k, v := range c.Header {
		if k == "Host" {
			req.Host = v
			continue
		}
		for value := range strings.SplitSeq(s.expand(v), "\n") {
			req.Header.Add(k, value)
		}
	}
	resp, err := s.via.RoundTrip(req)
	if err != nil {
		s.t.Errorf("%s: %s %s: %v", c.Name, c.Method, c.URL, err)
		return nil, ""
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("%s: %s %s: body: %v", c.Name, c.Method, c.URL, err)
	}
	if c.Save != "" {
		s.saved[c.Save] = resp.Header.Get("Location")
	}
	s.check(c, resp, string(got))
	return resp, string(got)
}

func (s *site) check(c exchangeCase, resp *http.Response, body string) {
	s.t.Helper()
	fail := func(format string, args ...any) {
		s.t.Helper()
		s.t.Errorf("%s: %s %s: "+format, append([]any{c.Name, c.Method, c.URL}, args...)...)
	}
	if resp.StatusCode != c.WantCode {
		fail("%d, want %d: %s", resp.StatusCode, c.WantCode, body)
	}
	for k, want := range c.WantHeader {
		got := strings.Join(resp.Header.Values(k), "\n")
		switch {
		case want == absent && got != "":
			fail("%s is %q, want none", k, got)
		case want != absent && got != s.expand(want):
			fail("%s is %q, want %q", k, got, s.expand(want))
		}
	}
	if c.WantBody != "" && body != c.WantBody {
		fail("body %q, want %q", body, c.WantBody)
	}
	if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("X-Request-Id") == "" {
		fail("lacks X-Content-Type-Options or X-Request-Id: %v", resp.Header)
	}
	url := s.expand(c.URL)
	protocol := url == "/v2" || strings.HasPrefix(url, "/v2/")
	if v := resp.Header.Get("Docker-Distribution-Api-Version"); protocol != (v == "registry/2.0") {
		fail("Docker-Distribution-Api-Version is %q", v)
	}
	if c.WantError == "" {
		return
	}
	if t := resp.Header.Get("Content-Type"); t != "application/json" {
		fail("an error of type %q", t)
	}
	if c.Method == http.MethodHead {
		return
	}
	var e struct {
		Errors []struct {
			Code, Message string
			Detail        json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || len(e.Errors) != 1 {
		fail("error body %q: %v", body, err)
		return
	}
	if got := e.Errors[0]; got.Code != c.WantError || got.Message == "" || !strings.Contains(string(got.Detail), c.WantDetail) {
		fail("error %q, want %s with detail %q", body, c.WantError, c.WantDetail)
	}
}

// dial opens a connection and sends text.
func (s *site) dial(text string) net.Conn {
	s.t.Helper()
	conn, err := s.conn()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// raw sends text as it stands and reads the answer to it.
func (s *site) raw(text, method string) (*http.Response, string) {
	s.t.Helper()
	return s.answerOn(s.dial(text), method)
}

func (s *site) answerOn(conn net.Conn, method string) (*http.Response, string) {
	s.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(body)
}

// expand replaces "{name}" by what was saved under that name.
func (s *site) expand(text string) string {
	for name, value := range s.saved {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

func sha256Of(content string) string { return digest.SHA256.FromString(content).String() }
func sha512Of(content string) string { return digest.SHA512.FromString(content).String() }

// pushBlob puts a blob into a repository.
func (s *site) pushBlob(repo, content string) (d string) {
	s.t.Helper()
	d = sha256Of(content)
	s.exchange(exchangeCase{
		Name: "push a blob", Method: "POST", URL: "/v2/" + repo + "/blobs/uploads/?digest=" + d, Body: content, WantCode: 201,
	})
	return d
}

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
)

// image returns an image manifest of a config and one layer. more goes in as it
// stands: `,"annotations":{}`.
func image(config, layer, more string) string {
	b, err := json.Marshal(map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sha256Of(layer), "size": len(layer)})
	if err != nil {
		panic(err)
	}
	c, err := json.Marshal(map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256Of(config), "size": len(config)})
	if err != nil {
		panic(err)
	}
	return `{"schemaVersion":2,"mediaType":"` + imageType + `","config":` + string(c) + `,"layers":[` + string(b) + `]` + more + `}`
}

// pushImage puts an image and its blobs into a repository.
func (s *site) pushImage(repo, reference, more string) (payload, d string) {
	s.t.Helper()
	s.pushBlob(repo, "{}")
	s.pushBlob(repo, "layer")
	payload = image("{}", "layer", more)
	d = sha256Of(payload)
	if reference == "" {
		reference = d
	}
	s.exchange(exchangeCase{
		Name: "push an image", Method: "PUT", URL: "/v2/" + repo + "/manifests/" + reference,
		Header: header{"Content-Type": imageType}, Body: payload, WantCode: 201,
	})
	return payload, d
}

package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
)

// secureSite serves a registry over TLS, as the program does, and returns clients
// that speak HTTP/2 and HTTP/1.1 to it.
func secureSite(t *testing.T, registry Registry, o Options) (s *site, clients map[string]*http.Client) {
	t.Helper()
	s = &site{t: t, log: &logBuffer{lines: make(chan struct{}, 1)}, saved: make(map[string]string)}
	if o.Policy == nil {
		o.Policy = auth.Open{}
	}
	o.LingerBytes, o.LingerTime = 64<<20, 30*time.Second
	o.Log = slog.New(slog.NewJSONHandler(s.log, nil))
	s.API = New(registry, o)
	// httptest knows how to make a certificate; the server is ours.
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	t.Cleanup(certified.Close)
	server := s.server()
	web.BoundHTTP2(server, &tls.Config{Certificates: certified.TLS.Certificates})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	clients = make(map[string]*http.Client)
	for name, second := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!second)
		transport.Protocols.SetHTTP2(second)
		t.Cleanup(transport.CloseIdleConnections)
		clients[name] = &http.Client{Transport: transport}
	}
	return s, clients
}

// TestTLS pushes and pulls over HTTP/2 and HTTP/1.1, from files and from memory.
func TestTLS(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
	d := sha256Of(content)
	for _, kind := range []string{"file://" + t.TempDir(), "mem://"} {
		s, clients := secureSite(t, newRegistry(t, kind, storage.Options{}), Options{HSTS: 24 * time.Hour})
		for proto, client := range clients {
			do := func(method, path, body string, want int) string {
				t.Helper()
				req, err := http.NewRequest(method, "https://"+s.addr+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil || resp.Proto != proto || resp.StatusCode != want {
					t.Errorf("%s %s is answered %s %d, %v, want %s %d", method, path, resp.Proto, resp.StatusCode, err, proto, want)
				}
				if hsts := resp.Header.Get("Strict-Transport-Security"); hsts != "max-age=86400" {
					t.Errorf("Strict-Transport-Security is %q", hsts)
				}
				return string(text)
			}
			do("GET", "/v2/", "", 200)
			do("POST", uploads+"?digest="+d, content, 201)
			if got := do("GET", "/v2/team/app/blobs/"+d, "", 200); got != content {
				t.Errorf("%s, %.7s: %d of %d bytes came back", proto, kind, len(got), len(content))
			}
			do("PATCH", uploads+"none", content, 404)
			do("GET", "/v2/team/app/blobs/"+sha256Of("none"), "", 404)
		}
	}
}

// TestStreamLimits stalls on one stream of a connection, in each direction: its time
// ends, and the other streams go on.
func TestStreamLimits(t *testing.T) {
	content := strings.Repeat("x", 32<<20)
	registry := newRegistry(t, "mem://", storage.Options{})
	d := serveRegistry(t, registry, Options{}).pushBlob("team/app", content)
	s, clients := secureSite(t, registry, Options{BodyTimeout: short})
	client := clients["HTTP/2.0"]
	base := "https://" + s.addr
	ping := func() {
		t.Helper()
		resp, err := client.Get(base + "/v2/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	// A body that stalls is answered, and what arrived is kept.
	opened, err := client.Post(base+uploads, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	opened.Body.Close()
	at := base + opened.Header.Get("Location")
	body, sender := io.Pipe()
	defer sender.Close()
	go sender.Write([]byte("0123"))
	req, err := http.NewRequest("PATCH", at, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout || resp.Header.Get("Range") != "0-3" {
		t.Errorf("a body that stalls is answered %d, %v", resp.StatusCode, resp.Header)
	}
	ping()
	// A reader that reads nothing is cut off.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err = http.NewRequestWithContext(ctx, "GET", base+"/v2/team/app/blobs/"+d, nil)
	if err != nil {
		t.Fatal(err)
	}
	slow, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	s.log.await(`"method":"GET"`, `"route":"blob"`, `"cut":"`)
	if n, err := io.Copy(io.Discard, slow.Body); err == nil || n >= int64(len(content)) {
		t.Errorf("a client that did not read got %d bytes, %v", n, err)
	}
	ping()
	// The end of a shutdown ends bodies on streams as well.
	s2, clients := secureSite(t, registry, Options{})
	body, sender = io.Pipe()
	defer sender.Close()
	go sender.Write([]byte("0123"))
	opened, err = clients["HTTP/2.0"].Post("https://"+s2.addr+uploads, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	opened.Body.Close()
	if req, err = http.NewRequest("PATCH", "https://"+s2.addr+opened.Header.Get("Location"), body); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s2.read.Load() < 4 {
			time.Sleep(time.Millisecond)
		}
		s2.Interrupt()
	}()
	if resp, err = clients["HTTP/2.0"].Do(req); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Range") != "0-3" {
		t.Errorf("a body that is interrupted is answered %d, %v", resp.StatusCode, resp.Header)
	}
}

// shortBlob is a registry whose blobs end before they should.
type shortBlob struct{ Registry }

type shortContent struct{ *bytes.Reader }

func (shortContent) Close() error { return nil }

func (s shortContent) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return s.Size() + 1000, nil
	}
	return s.Reader.Seek(offset, whence)
}

func (r shortBlob) OpenBlob(context.Context, storage.Blob) (io.ReadSeekCloser, error) {
	return shortContent{bytes.NewReader([]byte("short"))}, nil
}

// TestStreamIsCut sees that a body that is not whole does not end as if it were,
// without the connection going with it.
func TestStreamIsCut(t *testing.T) {
	registry := newRegistry(t, "mem://", storage.Options{})
	d := serveRegistry(t, registry, Options{}).pushBlob("team/app", strings.Repeat("x", 1005))
	s, clients := secureSite(t, shortBlob{registry}, Options{})
	client := clients["HTTP/2.0"]
	resp, err := client.Get("https://" + s.addr + "/v2/team/app/blobs/" + d)
	if err == nil {
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
	}
	if err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a body that is not whole ends with %v", err)
	}
}

// TestSlowStream sends a byte now and then, each within the limit and all of them
// not: the limit on writing must not end a stream on which nothing is written yet.
func TestSlowStream(t *testing.T) {
	const limit, content = 2 * time.Second, "01234567"
	s, clients := secureSite(t, newRegistry(t, "mem://", storage.Options{}), Options{BodyTimeout: limit})
	body, sender := io.Pipe()
	go func() {
		for _, b := range content {
			time.Sleep(limit / 5)
			sender.Write([]byte(string(b)))
		}
		sender.Close()
	}()
	resp, err := clients["HTTP/2.0"].Post("https://"+s.addr+uploads+"?digest="+sha256Of(content), "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("a slow body is answered %d", resp.StatusCode)
	}
}

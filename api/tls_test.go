package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/storage"
)

// secureSite serves a registry over TLS, as the program does, and returns clients
// that speak HTTP/2 and HTTP/1.1 to it.
func secureSite(t *testing.T, registry Registry, o Options) (s *site, clients map[string]*http.Client) {
	t.Helper()
	s = newSiteOf(t, registry, o)
	// httptest knows how to make a certificate; the server is ours.
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	t.Cleanup(certified.Close)
	server := s.server()
	web.LimitHTTP2(server, &tls.Config{Certificates: certified.TLS.Certificates})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.serveOn(l, server)
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

func (r shortBlob) Blob(ctx context.Context, repo string, d digest.Digest) (storage.Blob, error) {
	b, err := r.Registry.Blob(ctx, repo, d)
	return storage.NewBlob(b.Digest, b.Size, func(context.Context) (io.ReadSeekCloser, error) {
		return shortContent{bytes.NewReader([]byte("short"))}, nil
	}), err
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

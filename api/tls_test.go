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

// newTLSSite serves a registry over TLS, as the program does. It returns clients for HTTP/2 and
// HTTP/1.1.
func newTLSSite(t *testing.T, registry Registry, o Options) (s *site, clients map[string]*http.Client) {
	t.Helper()
	s = newUnservedSite(t, registry, o)
	// httptest makes the certificate only.
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
		s, clients := newTLSSite(t, newRegistry(t, kind, storage.Options{}), Options{HSTS: 24 * time.Hour})
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

// truncatedBlob is a registry whose blobs end early.
type truncatedBlob struct{ Registry }

type truncatedContent struct{ *bytes.Reader }

func (truncatedContent) Close() error { return nil }

func (s truncatedContent) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return s.Size() + 1000, nil
	}
	return s.Reader.Seek(offset, whence)
}

func (r truncatedBlob) Blob(ctx context.Context, repo string, d digest.Digest) (storage.Blob, error) {
	b, err := r.Registry.Blob(ctx, repo, d)
	return storage.NewBlob(b.Digest, b.Size, func(context.Context) (io.ReadSeekCloser, error) {
		return truncatedContent{bytes.NewReader([]byte("short"))}, nil
	}), err
}

// TestStreamIsCut checks that a truncated body resets its stream, and does not close the
// connection.
func TestStreamIsCut(t *testing.T) {
	registry := newRegistry(t, "mem://", storage.Options{})
	d := serveRegistry(t, registry, Options{}).pushBlob("team/app", strings.Repeat("x", 1005))
	s, clients := newTLSSite(t, truncatedBlob{registry}, Options{})
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

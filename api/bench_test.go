package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// singleManifest is a registry that returns the same manifest for each request, so that storage is
// not measured.
type singleManifest struct {
	Registry
	m storage.Manifest
}

func (o *singleManifest) Manifest(context.Context, string, manifest.Reference) (storage.Manifest, error) {
	return o.m, nil
}

func (o *singleManifest) Blob(_ context.Context, _ string, d digest.Digest) (storage.Blob, error) {
	return storage.Blob{Digest: d, Size: 1 << 20}, nil
}

// quietWriter is a ResponseWriter that discards the body.
type quietWriter struct{ header http.Header }

func (w *quietWriter) Header() http.Header              { return w.header }
func (w *quietWriter) Write(p []byte) (int, error)      { return len(p), nil }
func (w *quietWriter) WriteHeader(int)                  {}
func (w *quietWriter) SetReadDeadline(time.Time) error  { return nil }
func (w *quietWriter) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkRequest measures what this package adds to a request: routing, checks, header, metrics
// and the log line.
func BenchmarkRequest(b *testing.B) {
	registry := newSingleManifest()
	d := registry.m.Digest
	a := New(registry, Options{
		Log:       slog.New(slog.NewJSONHandler(io.Discard, nil)),
		Policy:    auth.Open{},
		CheckHost: true,
	})
	for _, c := range []struct{ name, method, path string }{
		{"ping", "GET", "/v2/"},
		{"manifest by tag", "GET", "/v2/team/app/manifests/v1.0"},
		{"manifest by digest", "GET", "/v2/team/app/manifests/" + d.String()},
		{"manifest head", "HEAD", "/v2/team/app/manifests/v1.0"},
		{"blob head", "HEAD", "/v2/team/app/blobs/" + d.String()},
		{"unrouted", "GET", "/v2/team/app"},
	} {
		b.Run(c.name, func(b *testing.B) { serveRepeatedly(b, a, c.method, c.path, nil) })
	}
}

// BenchmarkAuthorized measures a request for a manifest with warm caches: without users, with a
// token, and with a password.
func BenchmarkAuthorized(b *testing.B) {
	parts := newAuthParts(b)
	hash, err := bcrypt.GenerateFromPassword([]byte(passwordOf("alice")), bcrypt.MinCost)
	if err != nil {
		b.Fatal(err)
	}
	err = parts.rows.Tx(b.Context(), func(tx *rows.Tx) error {
		_, err := tx.CreateAccount(rows.Account{Kind: "user", Name: "alice", PasswordHash: string(hash), PasswordCost: bcrypt.MinCost, Groups: []string{"team"}})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	id, err := parts.auth.Logins.Login(b.Context(), auth.Credentials{Name: "alice", Secret: passwordOf("alice")})
	if err != nil {
		b.Fatal(err)
	}
	signed, err := parts.auth.Tokens.Sign(context.Background(), id, []auth.Access{{Type: "repository", Name: "team/app", Actions: []string{"pull"}}})
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	open := New(newSingleManifest(), Options{Log: log, Policy: auth.Open{}})
	guarded := New(newSingleManifest(), Options{Log: log, Policy: parts.policy, Auth: parts.auth})
	for _, c := range []struct {
		name   string
		api    *API
		header header
	}{{"open", open, nil}, {"bearer", guarded, bearerHeader(signed.Text)}, {"basic", guarded, passwordHeader("alice")}} {
		b.Run(c.name, func(b *testing.B) { serveRepeatedly(b, c.api, "GET", "/v2/team/app/manifests/v1.0", c.header) })
	}
}

func newSingleManifest() *singleManifest {
	payload := []byte(strings.Repeat("x", 1000))
	d := digest.FromBytes(payload)
	m := storage.Manifest{Digest: d, MediaType: manifest.MediaTypeImage, Size: int64(len(payload))}
	return &singleManifest{m: storage.NewManifest(m, func(context.Context) ([]byte, error) { return payload, nil })}
}

// serveRepeatedly serves one request in a loop.
func serveRepeatedly(b *testing.B, a *API, method, path string, h header) {
	req, err := http.NewRequest(method, "http://127.0.0.1:5000"+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	for k, v := range h {
		req.Header.Set(k, v)
	}
	req.Header.Set("User-Agent", "docker/28.2.2 go/go1.24 git-commit/bea959c kernel/6.1 os/linux arch/amd64")
	req.RemoteAddr = "127.0.0.1:40000"
	w := &quietWriter{make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		a.serve(w, req)
	}
	if len(w.header["Www-Authenticate"]) > 0 {
		b.Fatal("what was measured is a refusal")
	}
}

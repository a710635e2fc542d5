// Package authtest contains what the tests of authentication share: a test suite for
// implementations of auth.Source, and a small OIDC provider.
package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/auth"
)

// The paths under which a Provider serves its documents.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/keys"
)

// TokenTTL is the lifetime of a Provider's tokens, unless their claims contain another exp.
const TokenTTL = 5 * time.Minute

// Provider is an OIDC provider that listens on its own port with TLS. It is safe for concurrent
// use, except for its fields.
type Provider struct {
	URL    string           // the issuer's URL: https, without a trailing slash
	CAFile string           // PEM file of the certificate to trust
	Now    func() time.Time // clock for the times in tokens; set it before signing the first one

	t      testing.TB
	server *httptest.Server

	mu       sync.Mutex
	keys     []jose.JSONWebKey // private keys; the last one signs
	handlers map[string]http.HandlerFunc
	requests map[string]int // by path
	failing  bool
}

// NewProvider starts a provider that signs with ES256. It stops when the test ends.
func NewProvider(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{
		Now:      time.Now,
		t:        t,
		requests: make(map[string]int),
		CAFile:   filepath.Join(t.TempDir(), "issuer.pem"),
	}
	p.handlers = map[string]http.HandlerFunc{DiscoveryPath: p.discovery, KeysPath: p.jwks}
	p.Rotate()
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.EnableHTTP2 = true
	p.server.Config.ErrorLog = discardLogger()
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	p.URL = p.server.URL
	block := &pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}
	if err := os.WriteFile(p.CAFile, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// Issuer returns the configuration of an issuer for the provider.
func (p *Provider) Issuer(name, identity string, audiences ...string) auth.Issuer {
	return auth.Issuer{Name: name, URL: p.URL, Audiences: audiences, Identity: identity, CA: p.CAFile}
}

// Rotate replaces the signing key with a new one. The old one is no longer published.
func (p *Provider) Rotate() {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.setKey(key, jose.ES256)
}

// RotateRSA replaces the signing key with an RS256 key, as GitHub and GitLab use.
func (p *Provider) RotateRSA() {
	p.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		p.t.Fatal(err)
	}
	p.setKey(key, jose.RS256)
}

func (p *Provider) setKey(private any, alg jose.SignatureAlgorithm) {
	p.t.Helper()
	key := jose.JSONWebKey{Key: private, Algorithm: string(alg), Use: "sig"}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		p.t.Fatal(err)
	}
	key.KeyID = encode(sum)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []jose.JSONWebKey{key}
}

// Key returns the current private signing key.
func (p *Provider) Key() jose.JSONWebKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[len(p.keys)-1]
}

// PublicKey returns the public half of Key.
func (p *Provider) PublicKey() jose.JSONWebKey {
	key := p.Key()
	return key.Public()
}

// Sign returns an id_token with the given claims. It adds iss, iat, nbf, exp and a unique jti if
// they are missing. Claims with the value nil are left out.
func (p *Provider) Sign(claims map[string]any) string {
	p.t.Helper()
	return SignWith(p.t, p.Key(), p.complete(claims))
}

func (p *Provider) complete(claims map[string]any) map[string]any {
	now := p.Now()
	all := map[string]any{
		"iss": p.URL,
		"iat": now.Unix(),
		"nbf": now.Unix(),
		"exp": now.Add(TokenTTL).Unix(),
		"jti": rand.Text(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// SignWith returns a token with exactly the given claims, signed with the given key.
func SignWith(t testing.TB, key jose.JSONWebKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Fail makes all requests fail with 503 from now on, or stops that.
func (p *Provider) Fail(failing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = failing
}

// Handle serves requests for a path with h from now on. If h is nil it restores the original
// behaviour.
func (p *Provider) Handle(path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := map[string]http.HandlerFunc{DiscoveryPath: p.discovery, KeysPath: p.jwks}
	if h == nil {
		h = own[path]
	}
	p.handlers[path] = h
}

// Requests returns the number of requests for a path so far, including failed ones.
func (p *Provider) Requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// TotalRequests returns the number of requests for all paths.
func (p *Provider) TotalRequests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, count := range p.requests {
		n += count
	}
	return n
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests[r.URL.Path]++
	failing, h := p.failing, p.handlers[r.URL.Path]
	p.mu.Unlock()
	switch {
	case failing:
		http.Error(w, "out of order", http.StatusServiceUnavailable)
	case h == nil:
		http.NotFound(w, r)
	default:
		h(w, r)
	}
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	WriteJSON(w, map[string]any{
		"issuer":                                p.URL,
		"jwks_uri":                              p.URL + KeysPath,
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256", "RS256"},
	})
}

func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, key := range p.keys {
		set.Keys = append(set.Keys, key.Public())
	}
	WriteJSON(w, set)
}

// Package authtest holds what the tests of authentication share: the suite that
// every auth.Source passes, and a small real OIDC provider. Only tests import it.
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

// Where a Provider serves its documents.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/keys"
)

// TokenLife is how long a Provider's tokens are good for, unless their claims say
// otherwise.
const TokenLife = 5 * time.Minute

// Provider is an OIDC provider on a TLS port of its own, whose certificate is that
// of CAFile. It is safe for concurrent use, but for its fields.
type Provider struct {
	URL    string           // the issuer: https, without a slash at the end
	CAFile string           // certificates (PEM) to trust
	Now    func() time.Time // of the times in tokens; set it before the first one

	t      testing.TB
	server *httptest.Server

	mu       sync.Mutex
	keys     []jose.JSONWebKey // private; the last one signs
	handlers map[string]http.HandlerFunc
	requests map[string]int // by path
	failing  bool
}

// NewProvider starts a provider that ends with the test. It signs with ES256.
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
	p.server.Config.ErrorLog = quiet()
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	p.URL = p.server.URL
	block := &pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}
	if err := os.WriteFile(p.CAFile, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// Issuer is the configuration that trusts the provider.
func (p *Provider) Issuer(name, identity string, audiences ...string) auth.Issuer {
	return auth.Issuer{Name: name, URL: p.URL, Audiences: audiences, Identity: identity, CA: p.CAFile}
}

// Rotate replaces the signing key by a new one. The old one is no longer published.
func (p *Provider) Rotate() {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.setKey(key, jose.ES256)
}

// RotateRSA is Rotate to a key for RS256, as GitHub and GitLab have it.
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

// Key is the key, with its private half, that signs now.
func (p *Provider) Key() jose.JSONWebKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[len(p.keys)-1]
}

// PublicKey is Key as it is published.
func (p *Provider) PublicKey() jose.JSONWebKey {
	key := p.Key()
	return key.Public()
}

// Sign returns an identity token with these claims and, where they have none of
// their own, iss, iat, nbf, exp and a jti that occurs once. A claim that is nil is
// left out.
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
		"exp": now.Add(TokenLife).Unix(),
		"jti": rand.Text(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// SignWith returns a token with exactly these claims, signed by a key of any kind.
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

// Fail makes every request of the provider fail with 503, or no longer.
func (p *Provider) Fail(failing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = failing
}

// Handle answers requests for a path with h from now on; nil gives the path its
// own answer back, or none.
func (p *Provider) Handle(path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := map[string]http.HandlerFunc{DiscoveryPath: p.discovery, KeysPath: p.jwks}
	if h == nil {
		h = own[path]
	}
	p.handlers[path] = h
}

// Requests is how many requests for a path have arrived, whatever the answer.
func (p *Provider) Requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// AllRequests is Requests of all paths.
func (p *Provider) AllRequests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, of := range p.requests {
		n += of
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

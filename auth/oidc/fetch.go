package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// maxDocument is the most bytes that an issuer's documents have each.
	maxDocument = 1 << 20
	// maxRedirects is the most redirects, all on the issuer's host, to one of them.
	maxRedirects = 2
	// maxReason is the most bytes of a reason; some quote what was sent.
	maxReason = 300
)

// fetch reads the discovery document, unless it was read not long ago and led to
// keys, and the keys. It changes p where it succeeds.
func (r *remote) fetch(ctx context.Context, p *published) error {
	client, err := newClient(r.place)
	if err != nil {
		return err
	}
	if p.keysURL == "" || p.err != nil || p.tried.Sub(p.discovered) >= freshFor {
		p.keysURL = "" // so that a failure leads here again
		if p.keysURL, err = discover(ctx, client, r.place.url); err != nil {
			return brief(err)
		}
		p.discovered = p.tried
	}
	set, err := fetchKeys(ctx, client, p.keysURL)
	if err != nil {
		return brief(err)
	}
	p.set, p.fetched = set, p.tried
	return nil
}

// discover returns where an issuer says that its keys are.
func discover(ctx context.Context, client *http.Client, issuer string) (string, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), issuer)
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	var document struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	if document.KeysURL == "" {
		return "", errors.New("discovery: the document has no jwks_uri")
	}
	return document.KeysURL, nil
}

// fetchKeys reads a set of keys (RFC 7517). Keys that are not for signatures, have
// no id or are of an unknown kind are left out, as section 5 there asks.
func fetchKeys(ctx context.Context, client *http.Client, from string) ([]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", from, resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, fmt.Errorf("%s: no set of keys: %w", from, err)
	}
	var set []jose.JSONWebKey
	for _, raw := range document.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.KeyID != "" && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			set = append(set, key)
		}
	}
	return set, nil
}

// newClient returns a client for one attempt, bound to an issuer's host, which
// trusts what its file of certificates says now. It heeds no proxy of the
// environment and keeps no connection.
func newClient(p place) (*http.Client, error) {
	issuer, err := url.Parse(p.url)
	if err != nil {
		return nil, fmt.Errorf("the issuer's URL: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.ca != "" {
		if config.RootCAs, err = readCertificates(p.ca); err != nil {
			return nil, err
		}
	}
	return &http.Client{
		Transport: &guard{host: hostPort(issuer), next: &http.Transport{
			TLSClientConfig:        config,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		}},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return nil
		},
	}, nil
}

func readCertificates(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the issuer's ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the issuer's ca: no certificate (PEM) in %s", file)
	}
	return pool, nil
}

// guard lets requests through to one host over https and bounds the answers. An
// issuer's documents and redirects can name any other address, inside our network too.
type guard struct {
	host string
	next http.RoundTripper
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || hostPort(req.URL) != g.host {
		return nil, fmt.Errorf("refused to ask %s: not https on the issuer's host", req.URL.Redacted())
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxDocument}
	return resp, nil
}

// boundedBody fails after maxDocument bytes.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("an answer of more than %d bytes", maxDocument)
	}
	return n, err
}

// hostPort is the host and port of an https URL, as they compare.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

// brief keeps an error but shortens its text.
func brief(err error) error {
	text := err.Error()
	if len(text) <= maxReason {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:maxReason], "") + "…")
}

package oidc

import (
	"cmp"
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

	"github.com/berth-registry/berth/internal/host"
)

const (
	// maxDocument is the maximum size of each of an issuer's documents, in bytes.
	maxDocument = 1 << 20
	// maxRedirects is the maximum number of redirects for one document. All must stay on the
	// issuer's host.
	maxRedirects = 2
	// maxErrorText is the maximum length of an error's text, in bytes. Some errors quote what an
	// issuer or a client sent.
	maxErrorText = 300
)

// errNeedsKeys is the error of an issuer whose documents lead to no keys on its host. Only the
// configuration can say where they are: what the issuer says must not direct requests elsewhere.
var errNeedsKeys = errors.New("set keys of the issuer in auth.policy to the URL of its JSON Web Key Set")

// fetch reads the keys of the issuer and stores them in p. It reads the discovery document first,
// unless that was read recently and the last attempt succeeded, or the configuration names the
// keys.
//
// Errors: errNeedsKeys when no later attempt can succeed.
func (r *issuerKeys) fetch(ctx context.Context, p *keyState) error {
	client, err := newClient(r.source)
	if err != nil {
		return err
	}
	if r.source.keys != "" {
		p.keysURL = r.source.keys
	} else if p.keysURL == "" || p.err != nil || p.attemptedAt.Sub(p.discoveredAt) >= refreshAfter {
		p.keysURL = "" // if this fails, the next attempt repeats the discovery
		if p.keysURL, err = discover(ctx, client, r.source.url); err != nil {
			return shorten(err)
		}
		p.discoveredAt = p.attemptedAt
	}
	set, err := fetchKeys(ctx, client, p.keysURL)
	if err != nil {
		return shorten(err)
	}
	p.set, p.fetchedAt = set, p.attemptedAt
	return nil
}

// discover returns the URL of an issuer's keys.
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
		return "", fmt.Errorf("discovery: the document has no jwks_uri: %w", errNeedsKeys)
	}
	return document.KeysURL, nil
}

// fetchKeys reads a JSON Web Key Set (RFC 7517). It skips keys that are not for signatures, have no
// id or are of an unknown type, as section 5 recommends.
func fetchKeys(ctx context.Context, client *http.Client, from string) ([]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil { // a *url.Error, which has the URL that a redirect leads to
		return nil, fmt.Errorf("%s: %w", from, errors.Unwrap(err))
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

// newClient returns a client for one attempt, which is restricted to the host of the issuer or, if
// the configuration names its keys, to that of the keys. It reads the file of trusted certificates
// each time. It uses no proxy from the environment, and keeps no connection open.
func newClient(p keySource) (*http.Client, error) {
	allowed, err := url.Parse(cmp.Or(p.keys, p.url))
	if err != nil {
		return nil, fmt.Errorf("the issuer's URL: %w", err)
	}
	refusal := fmt.Errorf("not https on the issuer's host: %w", errNeedsKeys)
	if p.keys != "" {
		refusal = errors.New("the host of keys, which auth.policy names, leads to another host or from https")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.ca != "" {
		if config.RootCAs, err = readCertificates(p.ca); err != nil {
			return nil, err
		}
	}
	return &http.Client{
		Transport: &singleHostTransport{host: host.Parse("https", allowed.Host), refusal: refusal, next: &http.Transport{
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

// singleHostTransport allows requests to one host over https only, and limits the size of
// responses. Without it, an issuer's documents and redirects could direct requests to any address,
// including internal ones.
type singleHostTransport struct {
	host    host.Host
	refusal error // of requests elsewhere
	next    http.RoundTripper
}

func (g *singleHostTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || host.Parse("https", req.URL.Host) != g.host {
		return nil, fmt.Errorf("refused to ask %s://%s: %w", req.URL.Scheme, req.URL.Host, g.refusal)
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxDocument}
	return resp, nil
}

// boundedBody returns an error after maxDocument bytes.
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

// shorten returns err, or an error with a shortened text that is still errNeedsKeys if err is.
func shorten(err error) error {
	text := err.Error()
	switch {
	case len(text) <= maxErrorText:
		return err
	case errors.Is(err, errNeedsKeys):
		return fmt.Errorf("%s: %w", short(text), errNeedsKeys)
	}
	return errors.New(short(text))
}

// short limits a text to maxErrorText bytes.
func short(text string) string {
	if len(text) <= maxErrorText {
		return text
	}
	return strings.ToValidUTF8(text[:maxErrorText], "") + "…"
}

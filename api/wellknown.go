package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
)

const jwksPath = "/.well-known/jwks.json"

// getKeys sends the public keys of Berth's registry tokens (RFC 7517), by which other services
// verify them.
func (a *API) getKeys(w *web.Response, r *request) error {
	keys, err := a.auth.Tokens.JWKS(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", auth.JWKSMaxAge/time.Second))
	return writeBody(w, http.StatusOK, "application/json", keys)
}

// discovery is the part of OpenID Connect's discovery document that services need to verify
// registry tokens. Berth issues no ID tokens and has no authorization endpoint.
type discovery struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Token         string   `json:"token_endpoint"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// getDiscovery sends the addresses of the keys and of the token endpoint (OpenID Connect Discovery,
// 3).
func (a *API) getDiscovery(w *web.Response, r *request) error {
	at, err := a.baseURLFor(r.origin)
	if err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore // without ExternalURLs it depends on the request's Host
	return writeJSON(w, http.StatusOK, "application/json", discovery{
		Issuer: a.auth.Tokens.Issuer(), JWKS: at + jwksPath, Token: at + tokenPath,
		ResponseTypes: []string{"token"}, SubjectTypes: []string{"public"}, Algorithms: []string{"ES256"},
	})
}

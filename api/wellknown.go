package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
)

const jwksPath = "/.well-known/jwks.json"

// getKeys publishes the keys that tokens are signed with (RFC 7517), for other
// services to verify them by.
func (a *API) getKeys(w *web.Response, r *request) error {
	keys, err := a.auth.Tokens.JWKS(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", auth.JWKSMaxAge/time.Second))
	return writeBody(w, http.StatusOK, "application/json", keys)
}

// discovery is as much of OpenID Connect's discovery document as those need that
// verify tokens. There are no ID tokens and there is nothing to authorize.
type discovery struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Token         string   `json:"token_endpoint"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// getDiscovery says where keys and tokens are to be had (OpenID Connect Discovery, 3).
func (a *API) getDiscovery(w *web.Response, r *request) error {
	at, err := a.baseURLFor(r.origin)
	if err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore // it may say what the client said
	return writeJSON(w, http.StatusOK, "application/json", discovery{
		Issuer: a.auth.Tokens.Issuer(), JWKS: at + jwksPath, Token: at + tokenPath,
		ResponseTypes: []string{"token"}, SubjectTypes: []string{"public"}, Algorithms: []string{"ES256"},
	})
}

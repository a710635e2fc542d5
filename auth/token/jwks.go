package token

import (
	"context"
	"encoding/json"
)

// jwk is a public key as RFC 7517 and 7518 have it.
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	KID       string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// JWKS returns the public keys by which others verify tokens, as a JSON Web Key Set: those that
// sign, will sign or have signed. It may be kept for auth.JWKSMaxAge. Errors are the database's.
func (i *Issuer) JWKS(ctx context.Context) ([]byte, error) {
	set, err := i.currentKeys(ctx)
	if err != nil {
		return nil, err
	}
	keys := []jwk{}
	for _, k := range set.usableKeys(i.lifecycle, i.options.Now()) {
		x, y := set.keys[k.KID].coordinates()
		keys = append(keys, jwk{Type: "EC", Curve: "P-256", X: x, Y: y, KID: k.KID, Algorithm: algorithm, Use: "sig"})
	}
	return json.Marshal(struct {
		Keys []jwk `json:"keys"`
	}{keys})
}

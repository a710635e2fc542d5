package token

import (
	"context"
	"encoding/json"
)

// jwk is a public key in the form of RFC 7517 and RFC 7518.
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	KID       string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// JWKS returns the public keys as a JSON Web Key Set, by which others verify tokens: the keys that
// sign, will sign, or signed tokens that may be valid. It may be cached for auth.JWKSMaxAge. Errors
// are those of the database.
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

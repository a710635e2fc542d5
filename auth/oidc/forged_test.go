package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/authtest"
)

// part encodes one part of a token.
func part(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// withHeader returns a token with the given header and signature and with valid claims.
func (w *world) withHeader(t *testing.T, header map[string]any, sign func(text string) []byte) string {
	t.Helper()
	text := part(t, header) + "." + strings.Split(w.Sign(job(nil)), ".")[1]
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func newKey(t *testing.T, kid string) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: "ES256"}
}

// goodClaims returns the claims of a valid token.
func (w *world) goodClaims(t *testing.T) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(w.Sign(job(nil)), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestJ1Algorithms sends tokens without a signature, or with one that anyone can make from the
// public key. Tests of attacks are named after the numbers in docs/security.md.
func TestJ1Algorithms(t *testing.T) {
	w := newWorld(t)
	w.mustVerify(t, w.Sign(job(nil)))
	public, ok := w.PublicKey().Key.(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("key %T", w.PublicKey().Key)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	point, err := public.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"none", "None", "NONE", ""} {
		w.mustRefuse(t, w.withHeader(t, map[string]any{"alg": alg, "kid": w.Key().KeyID}, func(string) []byte { return nil }), auth.ErrCredentials, "")
	}
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "raw": point, "empty": nil,
	} {
		t.Run(name, func(t *testing.T) {
			token := w.withHeader(t, map[string]any{"alg": "HS256", "typ": "JWT", "kid": w.Key().KeyID}, func(text string) []byte {
				h := hmac.New(sha256.New, secret)
				h.Write([]byte(text))
				return h.Sum(nil)
			})
			w.mustRefuse(t, token, auth.ErrCredentials, "HS256")
		})
	}
}

// TestJ2Keys sends tokens that contain their own keys, and tokens with the ids of other keys.
func TestJ2Keys(t *testing.T) {
	w := newWorld(t)
	w.mustVerify(t, w.Sign(job(nil)))
	asked := w.TotalRequests()
	own := newKey(t, w.Key().KeyID)
	w.mustRefuse(t, authtest.SignWith(t, own, w.goodClaims(t)), auth.ErrCredentials, errSignature.Error())

	for name, header := range map[string]map[string]any{
		"jwk":  {"jwk": own.Public()},
		"jku":  {"jku": w.URL + "/mine"},
		"x5u":  {"x5u": w.URL + "/mine"},
		"crit": {"crit": []string{"exp"}, "exp": 1},
	} {
		t.Run(name, func(t *testing.T) {
			header["alg"], header["kid"] = "ES256", w.Key().KeyID
			token := w.withHeader(t, header, func(string) []byte { return make([]byte, 64) })
			w.mustRefuse(t, token, auth.ErrCredentials, "")
		})
	}
	for name, kid := range map[string]any{"list": []string{w.Key().KeyID}, "number": 1} {
		t.Run("kid a "+name, func(t *testing.T) {
			token := w.withHeader(t, map[string]any{"alg": "ES256", "kid": kid}, func(string) []byte { return make([]byte, 64) })
			w.mustRefuse(t, token, auth.ErrCredentials, "")
		})
	}
	for _, typ := range []any{"at+jwt", "logout+jwt", "", 1} {
		token := w.withHeader(t, map[string]any{"alg": "ES256", "typ": typ, "kid": w.Key().KeyID}, func(string) []byte { return make([]byte, 64) })
		w.mustRefuse(t, token, auth.ErrCredentials, "expected JWT")
	}
	for _, typ := range []string{"jwt", "Jwt"} {
		token := w.withHeader(t, map[string]any{"alg": "ES256", "typ": typ, "kid": w.Key().KeyID}, func(string) []byte { return make([]byte, 64) })
		w.mustRefuse(t, token, auth.ErrCredentials, errSignature.Error()) // the type is none of its faults
	}
	for _, kid := range []string{"", "../../x", strings.ToUpper(w.Key().KeyID)} {
		key := w.Key()
		key.KeyID = kid
		w.mustRefuse(t, authtest.SignWith(t, key, w.goodClaims(t)), auth.ErrCredentials, errUnknownKey.Error())
	}
	if n := w.TotalRequests(); n != asked {
		t.Errorf("%d requests went out for forged tokens", n-asked)
	}
}

// TestAlgorithmOfKey checks that a key that is published for one algorithm is not used for another,
// and that a key for encryption verifies nothing.
func TestAlgorithmOfKey(t *testing.T) {
	w := newWorld(t)
	w.RotateRSA()
	w.mustVerify(t, w.Sign(job(nil)))
	key := w.Key()
	key.Algorithm = "PS256"
	w.mustRefuse(t, authtest.SignWith(t, key, w.goodClaims(t)), auth.ErrCredentials, errSignature.Error())

	w = newWorld(t)
	public := w.PublicKey()
	public.Use = "enc"
	w.Handle(authtest.KeysPath, serveJSON(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}))
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrCredentials, errUnknownKey.Error())
}

// TestSecretKeyInSet checks that a symmetric key in the published set verifies nothing, and that a
// key of an unknown type does not invalidate the set.
func TestSecretKeyInSet(t *testing.T) {
	w := newWorld(t)
	secret := make([]byte, 32)
	w.Handle(authtest.KeysPath, serveJSON(map[string]any{"keys": []any{
		map[string]any{"kty": "oct", "kid": "shared", "k": base64.RawURLEncoding.EncodeToString(secret)},
		map[string]any{"kty": "PQC", "kid": "new"},
		w.PublicKey(),
	}}))
	w.mustVerify(t, w.Sign(job(nil)))
	key := jose.JSONWebKey{Key: secret, KeyID: "shared", Algorithm: "HS256"}
	w.mustRefuse(t, authtest.SignWith(t, key, w.goodClaims(t)), auth.ErrCredentials, "HS256")
}

// TestJ6Malformed sends texts that are not tokens, and other encodings of a valid token.
func TestJ6Malformed(t *testing.T) {
	w := newWorld(t)
	good := w.Sign(job(nil))
	w.mustVerify(t, good)
	parts := strings.Split(good, ".")
	last := strings.IndexByte(base64Alphabet, good[len(good)-1])
	for name, token := range map[string]string{
		"nothing":        "",
		"dots":           "..",
		"two parts":      parts[0] + "." + parts[1],
		"four parts":     good + "." + parts[2],
		"other bits":     good[:len(good)-1] + base64Alphabet[last^1:][:1],
		"padded":         good + "==",
		"a line end":     parts[0] + "." + parts[1] + "\n." + parts[2],
		"other alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+",
		"JSON":           `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"a list":         parts[0] + "." + part(t, []string{"iss"}) + "." + parts[2],
		"null":           parts[0] + "." + part(t, nil) + "." + parts[2],
		"17 KiB":         parts[0] + "." + strings.Repeat("A", 17<<10) + "." + parts[2],
		"changed":        parts[0] + "." + part(t, w.goodClaims(t)) + "." + parts[2],
	} {
		t.Run(name, func(t *testing.T) { w.mustRefuse(t, token, auth.ErrCredentials, "id_token: ") })
	}
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

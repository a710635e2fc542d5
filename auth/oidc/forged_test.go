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

// part is one part of a token.
func part(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// withHeader returns a token whose header and signature are as given, with the
// claims of a good one.
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

// completed are the claims of a good token.
func (w *world) completed(t *testing.T) map[string]any {
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

// TestJ1Algorithms: a token without a signature, or with one that anybody can make
// of the public key.
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

// TestJ2Keys: keys that the token brings itself, and names of keys that are not its.
func TestJ2Keys(t *testing.T) {
	w := newWorld(t)
	w.mustVerify(t, w.Sign(job(nil)))
	asked := w.AllRequests()
	own := newKey(t, w.Key().KeyID)
	w.mustRefuse(t, authtest.SignWith(t, own, w.completed(t)), auth.ErrCredentials, errSignature.Error())

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
	for _, kid := range []string{"", "../../x", strings.ToUpper(w.Key().KeyID)} {
		key := w.Key()
		key.KeyID = kid
		w.mustRefuse(t, authtest.SignWith(t, key, w.completed(t)), auth.ErrCredentials, errUnknownKey.Error())
	}
	if n := w.AllRequests(); n != asked {
		t.Errorf("%d requests went out for forged tokens", n-asked)
	}
}

// TestAlgorithmOfKey: a key that its issuer publishes for one algorithm is good for
// no other, and one for encryption for none.
func TestAlgorithmOfKey(t *testing.T) {
	w := newWorld(t)
	w.RotateRSA()
	w.mustVerify(t, w.Sign(job(nil)))
	key := w.Key()
	key.Algorithm = "PS256"
	w.mustRefuse(t, authtest.SignWith(t, key, w.completed(t)), auth.ErrCredentials, errSignature.Error())

	w = newWorld(t)
	public := w.PublicKey()
	public.Use = "enc"
	w.Handle(authtest.KeysPath, serveJSON(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}))
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrCredentials, errUnknownKey.Error())
}

// TestSecretKeyInSet: a shared secret in a published set verifies nothing, nor does
// a key of a kind that nobody knows spoil the set.
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
	w.mustRefuse(t, authtest.SignWith(t, key, w.completed(t)), auth.ErrCredentials, "HS256")
}

// TestJ6Malformed: texts that are no token, and others that would be the same one.
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
		"changed":        parts[0] + "." + part(t, w.completed(t)) + "." + parts[2],
	} {
		t.Run(name, func(t *testing.T) { w.mustRefuse(t, token, auth.ErrCredentials, "id_token: ") })
	}
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
)

func decode(segment string) (string, error) {
	data, err := base64.RawURLEncoding.DecodeString(segment)
	return string(data), err
}

// TestForge: without changes a forged token is accepted, so the other tests show the effect of
// their changes.
func TestForge(t *testing.T) {
	w := newWorld(t)
	w.want(w.forge(nil, nil), nil)
}

// TestJ1 verifies tokens that are signed without a key, or with one that is public.
func TestJ1(t *testing.T) {
	w := newWorld(t)
	public := &w.signer().private.PublicKey
	der, err := x509.MarshalPKIXPublicKey(public)
	w.must(err)
	raw, err := public.Bytes()
	w.must(err)
	head, body := w.model()
	for _, alg := range []string{"none", "None", "NONE", ""} {
		for _, signature := range []string{"", "x"} {
			w.want(w.assemble(change(head, parts{"alg": alg}), body, func(string) []byte { return []byte(signature) }), ErrInvalid)
		}
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwks, err := w.JWKS(w.t.Context())
	w.must(err)
	certificate := certificatePEM(w.signer().certificate)
	for _, secret := range [][]byte{text, text[:len(text)-1], der, raw, raw[1:], raw[1:33], jwks, []byte(certificate), []byte(w.signer().kid), {}} {
		for _, alg := range []string{"HS256", "ES256"} {
			w.want(w.assemble(change(head, parts{"alg": alg}), body, func(text string) []byte {
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(text))
				return mac.Sum(nil)
			}), ErrInvalid)
		}
	}
}

// TestJ2 verifies tokens that are signed with other keys, or that carry the key to verify them
// with.
func TestJ2(t *testing.T) {
	w := newWorld(t)
	head, body := w.model()

	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	w.want(w.forgeWith(foreign, nil, nil), ErrInvalid)
	other, err := completeKey(foreign)
	w.must(err)
	w.want(w.forgeWith(foreign, parts{"kid": other.kid}, nil), ErrInvalid)

	private, err := rsa.GenerateKey(rand.Reader, 2048)
	w.must(err)
	for _, alg := range []string{"RS256", "PS256", "ES256"} {
		w.want(w.assemble(change(head, parts{"alg": alg}), body, func(text string) []byte {
			sum := sha256.Sum256([]byte(text))
			signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
			w.must(err)
			return signature
		}), ErrInvalid)
	}

	x, y := other.coordinates()
	for name, value := range map[string]any{
		"jwk": parts{"kty": "EC", "crv": "P-256", "x": x, "y": y}, "jku": "https://evil.test/jwks.json", "x5u": "https://evil.test/c.pem",
		"x5c": []string{other.x5c()}, "x5t": "x", "crit": []string{"exp"}, "cty": "JWT", "b64": false, "zip": "DEF", "Alg": "ES256", "KID": other.kid,
	} {
		// Refused even if an own key signed.
		for _, key := range []*ecdsa.PrivateKey{foreign, w.signer().private} {
			w.want(w.forgeWith(key, parts{name: value}, nil), ErrInvalid)
		}
	}
	kid := w.signer().kid
	for _, value := range []any{nil, "", "../../x", "/dev/null", kid + "\x00", " " + kid, kid[:42], strings.ToUpper(kid), []string{kid}, parts{"kid": kid}, 1, true, json.RawMessage("null")} {
		w.want(w.forge(parts{"kid": value}, nil), ErrInvalid)
	}
	for _, change := range []parts{
		{"typ": nil}, {"typ": "at+jwt"}, {"typ": "jwt"}, {"typ": []string{"JWT"}}, {"alg": nil}, {"alg": "ES384"}, {"alg": "es256"}, {"alg": []string{"ES256"}},
	} {
		w.want(w.forge(change, nil), ErrInvalid)
	}
}

// TestJ3 verifies tokens of other issuers and for other services.
func TestJ3(t *testing.T) {
	w := newWorld(t)
	for name, values := range map[string][]any{
		"iss": {nil, "", "https://evil.test", "https://r.test/", []string{"https://r.test"}, 1},
		"aud": {nil, "", "other.test", "R.test", []string{}, []string{"r.test"}, []string{"r.test", "x"}, parts{}, json.RawMessage("null")},
		"exp": {nil}, "nbf": {nil}, "iat": {nil}, "jti": {nil, ""}, "id": {nil, parts{}, "user"},
		"sub":    {nil, "", "user:bob", "robot:alice", "alice"},
		"access": {"repository:team/app:pull", parts{"type": "repository"}},
		"extra":  {true}, "Exp": {json.Number("1")}, "issued_at": {"2026-11-22T00:00:00Z"},
	} {
		for _, value := range values {
			w.want(w.forge(nil, parts{name: value}), ErrInvalid)
		}
	}
	for _, kind := range []string{"", "admin", "User", "authenticated"} {
		w.want(w.forge(nil, parts{"sub": kind + ":alice", "id": parts{"k": kind, "n": "alice"}}), ErrInvalid)
	}

	elsewhere := newWorld(t)
	w.want(elsewhere.token(alice).Text, ErrInvalid)
}

// TestJ4 checks the rules for times.
func TestJ4(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.UploadGrace = 0 })
	now := w.Now().Unix()
	second := func(n int64) json.Number { return json.Number(fmt.Sprint(now + n)) }
	for _, c := range []struct {
		claims parts
		want   error
	}{
		{parts{"exp": second(-30), "iat": second(-330), "nbf": second(-330)}, nil},
		{parts{"exp": second(-59), "iat": second(-359), "nbf": second(-359)}, nil},
		{parts{"exp": second(-60), "iat": second(-360), "nbf": second(-360)}, ErrInvalid},
		{parts{"exp": second(-120), "iat": second(-420), "nbf": second(-420)}, ErrInvalid},
		{parts{"nbf": second(30)}, nil},
		{parts{"nbf": second(60)}, nil},
		{parts{"nbf": second(61)}, ErrInvalid},
		{parts{"nbf": second(299)}, ErrInvalid},
		{parts{"nbf": second(300)}, ErrInvalid},
		{parts{"iat": second(60)}, nil},
		{parts{"iat": second(61)}, ErrInvalid},
		{parts{"iat": second(300)}, ErrInvalid},
		{parts{"exp": second(3600)}, nil},
		{parts{"exp": second(3601)}, ErrInvalid},
		{parts{"exp": second(10 * 365 * 24 * 3600)}, ErrInvalid},
		{parts{"exp": json.Number("1e400")}, ErrInvalid},
		{parts{"exp": json.Number("9223372036854775807")}, ErrInvalid},
		{parts{"exp": json.Number("9223372036854775808")}, ErrInvalid},
		{parts{"exp": json.Number("-1")}, ErrInvalid},
		{parts{"exp": json.Number("1.8e9")}, ErrInvalid},
		{parts{"exp": json.Number(fmt.Sprintf("%d.5", now+200))}, ErrInvalid},
		{parts{"exp": fmt.Sprint(now + 200)}, ErrInvalid},
		{parts{"exp": second(200), "iat": json.Number("-9223372036854775808")}, ErrInvalid},
		{parts{"exp": second(-30), "iat": second(-30), "nbf": second(-40)}, ErrInvalid},
		{parts{"exp": second(-31), "iat": second(-30), "nbf": second(-40)}, ErrInvalid},
		{parts{"exp": second(-30), "iat": second(-330), "nbf": second(-30)}, ErrInvalid},
	} {
		if _, err := w.check(w.forge(nil, c.claims)); !errors.Is(err, c.want) {
			t.Errorf("%v at %d: %v, want %v", c.claims, now, err, c.want)
		}
	}
}

// TestJ5 verifies other texts that clients have, and that are not registry tokens.
func TestJ5(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{
		"", ".", "..", "...", "berthp_0123456789012345678901234567890abcde", "alice:secret", "YWxpY2U6c2VjcmV0",
		"eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IngifQ.eyJpc3MiOiJodHRwczovL3Rva2VuLmFjdGlvbnMuZ2l0aHVidXNlcmNvbnRlbnQuY29tIn0.c2ln",
		"e30.e30.", "bnVsbA.bnVsbA.", "W10.W10.x", "\x00.\x00.\x00", "\xff\xfe",
	} {
		w.want(text, ErrInvalid)
	}
}

// TestJ6 alters the form of a valid token.
func TestJ6(t *testing.T) {
	w := newWorld(t)
	good := w.token(alice, pull("team/app")).Text
	segments := strings.Split(good, ".")
	head, body, signature := segments[0], segments[1], segments[2]
	for name, text := range map[string]string{
		"padded":               good + "==",
		"a newline":            good + "\n",
		"a newline inside":     head + "\n." + body + "." + signature,
		"a space before":       " " + good,
		"four segments":        good + ".",
		"five":                 good + "." + body + "." + signature,
		"two":                  head + "." + body,
		"no signature":         head + "." + body + ".",
		"a short signature":    good[:len(good)-4],
		"another claim":        head + "." + "A" + body[1:] + "." + signature,
		"the last bits":        good[:len(good)-1] + lastBits(good[len(good)-1]),
		"the alphabet of +/":   strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+",
		"more than 16 KiB":     head + "." + body + "." + strings.Repeat("A", MaxSize),
		"a megabyte":           strings.Repeat("A", 1<<20),
		"signed, in DER":       w.assemble(w.raw(head), w.raw(body), func(text string) []byte { return w.der(text) }),
		"claims followed by {": w.assemble(w.raw(head), json.RawMessage(w.text(body)+"{}"), w.sign),
		"header twice":         w.assemble(json.RawMessage(w.text(head)+w.text(head)), w.raw(body), w.sign),
		"claims null":          w.assemble(w.raw(head), json.RawMessage("null"), w.sign),
		"claims a list":        w.assemble(w.raw(head), json.RawMessage("[]"), w.sign),
		"deep":                 w.assemble(w.raw(head), json.RawMessage(`{"id":`+strings.Repeat(`[`, 5000)+strings.Repeat(`]`, 5000)+`}`), w.sign),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := w.check(text); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
	w.want(good, nil)

	huge := strings.Repeat("A", 1<<20)
	v := w.version()
	if n := testing.AllocsPerRun(100, func() { _, _ = w.Verify(w.t.Context(), huge, v) }); n > 10 {
		t.Errorf("a token that is too long costs %v allocations", n)
	}
}

// lastBits returns another base64 character with the same leading four bits as c. Lenient decoders
// take both for the same 64th byte.
func lastBits(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)^1])
}

func (w *world) raw(segment string) json.RawMessage { return json.RawMessage(w.text(segment)) }

func (w *world) text(segment string) string {
	w.t.Helper()
	text, err := decode(segment)
	w.must(err)
	return text
}

func (w *world) sign(text string) []byte { return es256(w.t, w.signer().private, text) }

func (w *world) der(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	signature, err := ecdsa.SignASN1(rand.Reader, w.signer().private, sum[:])
	w.must(err)
	return signature
}

// TestNamesTwice: a token that other parsers may read differently is refused, even if it is validly
// signed.
func TestNamesTwice(t *testing.T) {
	w := newWorld(t)
	segments := strings.Split(w.token(alice, pull("team/app")).Text, ".")
	head, body := w.text(segments[0]), w.text(segments[1])
	for _, c := range []struct{ head, body string }{
		{strings.Replace(head, `"typ"`, `"alg":"none","typ"`, 1), body},
		{strings.Replace(head, `"typ"`, `"kid":"x","typ"`, 1), body},
		{head, strings.Replace(body, `"sub"`, `"sub":"user:bob","sub"`, 1)},
		{head, strings.Replace(body, `"k":`, `"k":"robot","k":`, 1)},
		{head, strings.Replace(body, `"actions"`, `"actions":["push"],"actions"`, 1)},
		{head, strings.Replace(body, `"aud"`, `"AUD":"x","aud"`, 1)},
	} {
		if c.head == head && c.body == body {
			t.Fatal("nothing was changed")
		}
		w.want(w.assemble(json.RawMessage(c.head), json.RawMessage(c.body), w.sign), ErrInvalid)
	}
}

// TestCheckNames checks the function that reads a header before the signature is verified.
func TestCheckNames(t *testing.T) {
	nested := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	for text, want := range map[string]error{
		`{}`: nil, `{"a":1,"b":{"x":1,"y":[{"x":1},{"x":2}]}}`: nil, nested(maxDepth): nil, ` {"a":1} `: nil,
		nested(maxDepth + 1): errJSON, nested(10_000): errJSON, ``: errJSON, `[]`: errJSON, `1`: errJSON, `null`: errJSON, `{`: errJSON,
		`{"a"}`: errJSON, `{"a":`: errJSON, `{"a":[}`: errJSON, `{"a":{"x":1}`: errJSON, `{}{}`: errJSON, `{"a":1}x`: errJSON, `{1:1}`: errJSON,
		`{"c":1}`: errNames, `{"A":1}`: errNames, `{"a":1,"a":1}`: errNames, `{"a":1,"\u0061":1}`: errNames,
		`{"a":{"x":1,"x":2}}`: errNames, `{"a":[{"x":1,"x":2}]}`: errNames,
	} {
		if err := checkNames([]byte(text), "a", "b"); !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", text, err, want)
		}
	}
}

// TestMalleableSignature: (r, n-s) is a valid signature too. It makes another text of the same
// token, which is why tokens are not denied by their text.
func TestMalleableSignature(t *testing.T) {
	w := newWorld(t)
	s := w.token(alice)
	at := strings.LastIndexByte(s.Text, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(s.Text[at:])
	w.must(err)
	half := new(big.Int).SetBytes(signature[32:])
	half.Sub(elliptic.P256().Params().N, half).FillBytes(signature[32:])
	if g := w.want(s.Text[:at]+base64.RawURLEncoding.EncodeToString(signature), nil); g.ID != s.ID {
		t.Errorf("its jti is %s", g.ID)
	}
}

// TestU2 checks what an expired token is valid for, both in the cache and new.
func TestU2(t *testing.T) {
	w := newWorld(t)
	first := w.token(alice, pull("team/app"))
	w.want(first.Text, nil)
	fresh := func() *Issuer { return w.open() } // with an empty cache
	for _, c := range []struct {
		after time.Duration // after the token's end
		want  error
	}{
		{-time.Second, nil}, {59 * time.Second, nil}, {60 * time.Second, ErrExpired}, {59 * time.Minute, ErrExpired},
		{time.Hour - time.Second, ErrExpired}, {time.Hour, ErrInvalid}, {24 * time.Hour, ErrInvalid},
	} {
		w.advance(first.Expires.Add(c.after).Sub(w.Now()))
		for name, i := range map[string]*Issuer{"remembered": w.Issuer, "new": fresh()} {
			g, err := i.Verify(w.t.Context(), first.Text, w.version())
			if !errors.Is(err, c.want) {
				t.Errorf("%s, %v after its end: %v, want %v", name, c.after, err, c.want)
			}
			if given := g.ID == first.ID; given == errors.Is(err, ErrInvalid) {
				t.Errorf("%s, %v after its end: grant %+v", name, c.after, g)
			}
		}
	}
}

// TestExpiredAndWrong: the upload grace excuses the expiry and nothing else.
func TestExpiredAndWrong(t *testing.T) {
	w := newWorld(t)
	now := w.Now().Unix()
	old := parts{"exp": json.Number(fmt.Sprint(now - 600)), "iat": json.Number(fmt.Sprint(now - 900)), "nbf": json.Number(fmt.Sprint(now - 910))}
	w.want(w.forge(nil, old), ErrExpired)
	for name, value := range map[string]any{"iss": "x", "aud": "x", "sub": "user:bob", "jti": "", "nbf": json.Number(fmt.Sprint(now)), "iat": json.Number(fmt.Sprint(now))} {
		w.want(w.forge(nil, change(old, parts{name: value})), ErrInvalid)
	}
}

// TestCacheIsBounded: tokens that clients send do not make memory grow.
func TestCacheIsBounded(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		w.want(w.token(alice).Text+"x", ErrInvalid)
	}
	if n := w.cache.Len(); n != 0 {
		t.Errorf("%d invalid tokens are remembered", n)
	}
	signed := w.token(alice)
	for range 3 {
		w.want(signed.Text, nil)
	}
	if n := w.cache.Len(); n != 1 {
		t.Errorf("one token is remembered %d times", n)
	}
	for n := range 2 * maxCached {
		w.cache.Add(sha256.Sum256([]byte{byte(n), byte(n >> 8)}), verifiedToken{})
	}
	if n := w.cache.Len(); n != maxCached {
		t.Errorf("%d tokens are remembered", n)
	}
	w.want(signed.Text, nil)
}

// TestConcurrentUse signs and verifies while keys change. Tokens of keys that are not revoked are
// valid.
func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			for range 25 {
				s, err := w.Sign(w.t.Context(), alice, nil)
				v, verr := w.db.AuthVersion(w.t.Context())
				if err := errors.Join(err, verr); err != nil {
					t.Error(err)
					return
				}
				if g, err := w.Verify(w.t.Context(), s.Text, auth.Version(v)); err != nil || g.ID != s.ID {
					t.Errorf("%+v, %v", g, err)
				}
				if _, err := w.JWKS(w.t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	m := w.manager()
	for range 10 {
		_, err := m.Rotate(t.Context(), true)
		w.must(err)
		w.maintain()
	}
	g.Wait()
}

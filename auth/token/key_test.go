package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// derive returns the key with this secret scalar, so that its properties are known.
func derive(t testing.TB, scalar *big.Int) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar.FillBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// withLeadingZero returns a key with a coordinate that begins with a zero byte.
func withLeadingZero(t testing.TB) *key {
	t.Helper()
	for n := int64(1); ; n++ {
		k, err := completeKey(derive(t, big.NewInt(n)))
		if err != nil {
			t.Fatal(err)
		}
		if k.hasLeadingZero() {
			return k
		}
	}
}

// TestThumbprint compares the kid with the thumbprint of another implementation, also for a padded
// coordinate.
func TestThumbprint(t *testing.T) {
	made, err := generateKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*key{made, withLeadingZero(t)} {
		want, err := (&jose.JSONWebKey{Key: &k.private.PublicKey}).Thumbprint(crypto.SHA256)
		if err != nil || k.kid != base64.RawURLEncoding.EncodeToString(want) {
			t.Errorf("%s: want %x, %v", k.kid, want, err)
		}
	}
}

func TestGenerateKey(t *testing.T) {
	for range 600 { // without the checks about one in 128, and one in 64, would fail
		k, err := generateKey()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := k.private.PublicKey.Bytes()
		if err != nil || raw[1] == 0 || raw[33] == 0 || strings.HasPrefix(k.kid, "-") {
			t.Fatalf("kid %s of %x, %v", k.kid, raw, err)
		}
	}
	k, err := generateKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", k, k, k), fmt.Sprintf("%v %+v", []*key{k}, struct{ K *key }{k})} {
		if strings.Contains(text, k.private.X.String()) || !strings.Contains(text, k.kid) {
			t.Errorf("a key prints what is in it: %s", text)
		}
	}
}

// TestJWKS parses the published keys with another implementation, and verifies a token with them.
func TestJWKS(t *testing.T) {
	w := newWorld(t)
	data, err := w.JWKS(w.t.Context())
	w.must(err)
	var fields struct{ Keys []map[string]string }
	w.must(json.Unmarshal(data, &fields))
	x, y := w.signer().coordinates()
	want := map[string]string{"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": w.signer().kid, "alg": "ES256", "use": "sig"}
	if len(fields.Keys) != 1 || fmt.Sprint(fields.Keys[0]) != fmt.Sprint(want) {
		t.Errorf("published %s", data)
	}
	var set jose.JSONWebKeySet
	w.must(json.Unmarshal(data, &set))
	signed := w.token(alice)
	for name, verify := range map[string]func(s *jose.JSONWebSignature) ([]byte, error){
		"good": func(s *jose.JSONWebSignature) ([]byte, error) { return s.Verify(set.Key(w.signer().kid)[0]) },
		"another": func(s *jose.JSONWebSignature) ([]byte, error) {
			return s.Verify(&newWorld(t).signer().private.PublicKey)
		},
	} {
		parsed, err := jose.ParseSignedCompact(signed.Text, []jose.SignatureAlgorithm{jose.ES256})
		w.must(err)
		if _, err := verify(parsed); (err == nil) != (name == "good") {
			t.Errorf("%s key: %v", name, err)
		}
	}
}

// TestX5C: the header contains the certificate that commands print, and no other is accepted.
func TestX5C(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.X5C = true })
	head, _ := w.model()
	keys, err := w.manager().Keys(w.t.Context())
	w.must(err)
	chain, ok := head["x5c"].([]any)
	if !ok || len(chain) != 1 || chain[0] != base64.StdEncoding.EncodeToString(keys[0].Certificate) {
		t.Fatalf("x5c: %v", head["x5c"])
	}
	block, rest := pem.Decode([]byte(keys[0].CertificatePEM()))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 || !bytes.Equal(block.Bytes, keys[0].Certificate) {
		t.Fatalf("the certificate in PEM: %s", keys[0].CertificatePEM())
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	w.must(err)
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	for _, at := range []time.Time{w.Now(), w.Now().Add(50 * 365 * day)} {
		if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("at %v: %v", at, err)
		}
	}
	if !w.signer().private.PublicKey.Equal(certificate.PublicKey) {
		t.Error("the certificate is of another key")
	}

	w.want(w.forge(nil, nil), nil)
	w.want(w.forge(parts{"x5c": nil}, nil), nil) // signed before the option was set
	other, err := generateKey()
	w.must(err)
	for _, value := range []any{[]string{}, []string{other.x5c()}, []string{w.signer().x5c(), other.x5c()}, w.signer().x5c(), 1} {
		w.want(w.forge(parts{"x5c": value}, nil), ErrInvalid)
		w.want(w.forgeWith(other.private, parts{"x5c": value}, nil), ErrInvalid)
	}
	without := &world{Issuer: w.open(), clock: w.clock, t: t, db: w.db}
	without.want(w.token(alice).Text, ErrInvalid)
}

// TestKeyFile: the first key signs, all keys verify, and only a change of the file changes the
// keys.
func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	writeKeys(t, file, elliptic.P256())
	var log bytes.Buffer
	w := newWorld(t)
	fromFile := func(o *Options) { o.KeyFile, o.Rows, o.Log = file, nil, slog.New(slog.NewTextHandler(&log, nil)) }
	w.Issuer = w.open(fromFile)
	first := w.token(alice)
	if g, err := w.Verify(w.t.Context(), first.Text, 1<<40); err != nil || g.ID != first.ID {
		t.Fatalf("%+v, %v", g, err)
	}
	old, err := os.ReadFile(file)
	w.must(err)

	writeKeys(t, file, elliptic.P256())
	added, err := os.ReadFile(file)
	w.must(err)
	writeFile(t, file, append(added, old...))
	w.must(w.Reload())
	w.maintain()
	second := w.token(alice)
	if w.kidOf(second) == w.kidOf(first) || len(w.published()) != 2 || w.published()[0] != w.kidOf(second) {
		t.Fatalf("%s signs; published %v", w.kidOf(second), w.published())
	}
	w.want(first.Text, nil)
	w.want(second.Text, nil)

	writeFile(t, file, []byte("damaged"))
	if err := w.Reload(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a damaged file: %v", err)
	}
	w.want(w.token(alice).Text, nil)

	writeFile(t, file, added)
	w.must(w.Reload())
	w.want(first.Text, ErrInvalid)
	w.want(second.Text, nil)
	if _, err := w.manager().Rotate(t.Context(), true); !errors.Is(err, ErrKeyFile) {
		t.Errorf("rotation by command: %v", err)
	}
	if _, err := w.manager().Revoke(t.Context(), w.kidOf(second)); !errors.Is(err, ErrKeyFile) {
		t.Errorf("revocation by command: %v", err)
	}
	if log.Len() > 0 && !strings.Contains(log.String(), "zero byte") {
		t.Errorf("log: %s", &log)
	}
	odd := withLeadingZero(t)
	writeFile(t, file, encodePrivate(t, odd.private))
	w.must(w.Reload())
	if !strings.Contains(log.String(), odd.kid) {
		t.Errorf("no warning of a key that others refuse: %s", &log)
	}
	w.want(w.token(alice).Text, nil)
}

// TestCertificateOfAKeyFile: a key without a certificate gets the same one at each start. A key
// with a certificate keeps it.
func TestCertificateOfAKeyFile(t *testing.T) {
	k, err := generateKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := generateKey()
	if err != nil {
		t.Fatal(err)
	}
	private := encodePrivate(t, k.private)
	for range 3 {
		if again, err := parseKeys(private); err != nil || !bytes.Equal(again[0].certificate, k.certificate) {
			t.Fatalf("%v, %v", again, err)
		}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.private.PublicKey, k.private)
	if err != nil {
		t.Fatal(err)
	}
	both := append(bytes.Clone(private), certificatePEM(der)...)
	if again, err := parseKeys(both); err != nil || !bytes.Equal(again[0].certificate, der) {
		t.Errorf("%v, %v", again, err)
	}
	foreign := append(bytes.Clone(private), certificatePEM(other.certificate)...)
	if _, err := parseKeys(foreign); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("the certificate of another key: %v", err)
	}
}

func TestParseKeysRefuses(t *testing.T) {
	k, err := generateKey()
	if err != nil {
		t.Fatal(err)
	}
	private := string(encodePrivate(t, k.private))
	sec1, err := x509.MarshalECPrivateKey(k.private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&k.private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":            {"", "no PEM block"},
		"text":               {"secret", "no PEM block"},
		"SEC 1":              {block("EC PRIVATE KEY", sec1), "openssl pkcs8"},
		"encrypted":          {block("ENCRYPTED PRIVATE KEY", sec1), "encrypted"},
		"a public key":       {block("PUBLIC KEY", public), `"PUBLIC KEY"`},
		"P-384":              {string(encodePrivate(t, large)), "P-256"},
		"RSA":                {string(encodePrivate(t, rsaKey)), "P-256"},
		"Ed25519":            {string(encodePrivate(t, edwards)), "P-256"},
		"damaged DER":        {block(privateBlock, sec1), "PKCS#8"},
		"a certificate only": {certificatePEM(k.certificate), "before the first private key"},
		"no certificate":     {private + block(certificateBlock, []byte("x")), k.kid},
		"a second damaged":   {private + strings.Replace(private, "\nM", "\n*", 1), "damaged"},
	} {
		keys, err := parseKeys([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	writeFile(t, file, []byte(private+private))
	if _, err := readFile(file); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same key twice: %v", err)
	}
}

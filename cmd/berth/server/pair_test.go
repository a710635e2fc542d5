package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// issued is a certificate with its key, in PEM.
type issued struct {
	cert     *x509.Certificate
	private  *ecdsa.PrivateKey
	pem, key string
}

// issue makes a certificate that is valid between two times. Without a parent it signs itself.
func issue(t *testing.T, name string, parent *issued, from, to time.Time) *issued {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true}
	signer, signed := private, template
	if parent != nil {
		signer, signed = parent.private, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signed, &private.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, private, block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// pairIn writes the files of a pair.
func pairIn(t *testing.T, certificate, key string) config.TLSConfig {
	t.Helper()
	dir := t.TempDir()
	c := config.TLSConfig{Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	for path, content := range map[string]string{c.Certificate: certificate, c.Key: key} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

var (
	noon      = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	yesterday = noon.Add(-24 * time.Hour)
	tomorrow  = noon.Add(24 * time.Hour)
)

// TestPairIsExplained: an error says which file is wrong, how, and what would be right.
func TestPairIsExplained(t *testing.T) {
	root := issue(t, "root", nil, yesterday, tomorrow)
	middle := issue(t, "middle", root, yesterday, tomorrow)
	leaf := issue(t, "leaf", middle, yesterday, tomorrow)
	sec1, err := x509.MarshalECPrivateKey(leaf.private)
	if err != nil {
		t.Fatal(err)
	}
	old := "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n"
	for name, c := range map[string]struct {
		certificate, key string
		want             []string // parts of the error; none: the pair is good
	}{
		"good":                  {leaf.pem + middle.pem, leaf.key, nil},
		"other blocks between":  {block("X", nil) + leaf.pem + middle.pem, block("EC PARAMETERS", nil) + block("EC PRIVATE KEY", sec1), nil},
		"both in both":          {leaf.key + leaf.pem, leaf.pem + leaf.key, nil},
		"wrong order":           {root.pem + middle.pem + leaf.pem, leaf.key, []string{"tls.certificate", "wrong order", "CN=leaf", "number 3", "must be the first"}},
		"another key":           {leaf.pem + middle.pem, root.key, []string{"tls.key", "tls.certificate", "key of no certificate", "CN=leaf"}},
		"encrypted":             {leaf.pem, block("ENCRYPTED PRIVATE KEY", []byte("x")), []string{"tls.key", "encrypted", "openssl pkey"}},
		"encrypted by openssl":  {leaf.pem, old, []string{"tls.key", "encrypted", "openssl pkey"}},
		"swapped":               {leaf.key, leaf.pem, []string{"tls.certificate", "has a private key", "tls.key"}},
		"certificates only":     {leaf.pem, leaf.pem, []string{"tls.key", "has a certificate", "tls.certificate"}},
		"nothing":               {"", leaf.key, []string{"tls.certificate", "no certificate", "BEGIN CERTIFICATE", "-inform der"}},
		"no key":                {leaf.pem, "x", []string{"tls.key", "no private key", "BEGIN PRIVATE KEY"}},
		"a broken key":          {leaf.pem, block("PRIVATE KEY", []byte("secret")), []string{"tls.key", "PKCS#8"}},
		"a broken intermediate": {leaf.pem + block("CERTIFICATE", []byte("x")), leaf.key, []string{"tls.certificate", "number 2"}},
	} {
		files := pairIn(t, c.certificate, c.key)
		_, err := readPair(files)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v does not say %q", name, err, want)
			}
		}
	}
	files := pairIn(t, leaf.pem, leaf.key)
	for _, path := range []string{files.Key, files.Certificate} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := readPair(files); err == nil || strings.Count(err.Error(), path) != 1 {
			t.Errorf("without %s: %v", path, err)
		}
	}
}

// TestPairWarnings: what makes clients refuse a good pair is a warning, for each certificate of the
// chain.
func TestPairWarnings(t *testing.T) {
	root := issue(t, "root", nil, yesterday, tomorrow.Add(time.Hour))
	middle := issue(t, "middle", root, yesterday.Add(time.Hour), tomorrow)
	leaf := issue(t, "leaf", middle, yesterday, tomorrow.Add(time.Second))
	p, err := readPair(pairIn(t, leaf.pem+middle.pem+root.pem, leaf.key))
	if err != nil {
		t.Fatal(err)
	}
	if !p.notAfter().Equal(tomorrow) {
		t.Errorf("the chain ends at %v", p.notAfter())
	}
	for now, want := range map[time.Time][]string{
		noon:                      nil,
		tomorrow:                  nil,
		tomorrow.Add(time.Second): {"2 of 3 (CN=middle) expired at 2030-01-03T12:00:00Z"},
		tomorrow.Add(time.Minute): {"1 of 3 (CN=leaf) expired", "2 of 3 (CN=middle) expired"},
		yesterday:                 {"2 of 3 (CN=middle) is not valid before 2030-01-01T13:00:00Z"},
	} {
		requireWarnings(t, now.String(), p.warnings(now), want)
	}
	p, err = readPair(pairIn(t, leaf.pem+root.pem+middle.pem, leaf.key))
	if err != nil {
		t.Fatal(err)
	}
	requireWarnings(t, "wrong order", p.warnings(noon), []string{"1 of 3 (CN=leaf) is not signed by the next one (CN=root)", "2 of 3 (CN=root) is not signed by the next one (CN=middle)"})
}

func requireWarnings(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %q, want %q", what, got, want)
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s: %q does not say %q", what, got[i], want[i])
		}
	}
}

// TestExpiredCertificateIsReloaded: a reload takes a certificate that has expired, with a warning,
// and the metric has its end.
func TestExpiredCertificateIsReloaded(t *testing.T) {
	var out bytes.Buffer
	end := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	expired := issue(t, "expired", nil, end.Add(-time.Hour), end)
	c := &certificate{files: pairIn(t, expired.pem, expired.key), log: slog.New(slog.NewTextHandler(&out, nil))}
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(c.collector()); got != float64(end.Unix()) {
		t.Errorf("the metric is %v", got)
	}
	if !strings.Contains(out.String(), "level=WARN") || !strings.Contains(out.String(), "expired at 2001-02-03T04:05:06Z") {
		t.Errorf("log: %s", &out)
	}
}

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair is a self-signed certificate with its key.
type pair struct{ certificate, key []byte }

// newPair makes a pair for a name and the loopback addresses that is valid for an hour.
func newPair(t *testing.T, name string) pair { return newPairUntil(t, name, time.Now().Add(time.Hour)) }

// newPairUntil makes a pair that expires at a time.
func newPairUntil(t *testing.T, name string, end time.Time) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: end.Add(-24 * time.Hour), NotAfter: end,
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

// pairFiles is a pair in two files.
type pairFiles struct {
	t                *testing.T
	certificate, key string
}

func newPairFiles(t *testing.T, p pair) pairFiles {
	dir := t.TempDir()
	f := pairFiles{t, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	f.write(f.certificate, p.certificate)
	f.write(f.key, p.key)
	return f
}

// write replaces a file by renaming a new one, as tools for renewing certificates do.
func (f pairFiles) write(path string, content []byte) {
	f.t.Helper()
	replaceFile(f.t, path, string(content))
}

// args returns the flags that name the files.
func (f pairFiles) args() []string {
	return []string{"--tls-certificate", f.certificate, "--tls-key", f.key}
}

// replaceFile replaces a file by renaming a new one to its path.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// peer returns the name in the server's certificate on a new connection.
func (p *program) peer() string {
	p.t.Helper()
	conn, err := tls.Dial("tcp", p.line.Addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// client returns a client that trusts one certificate, and uses HTTP/2 if the server has it.
func client(t *testing.T, p pair) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(p.certificate) {
		t.Fatal("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	one := newPair(t, "one.test")
	p := serve(t, newData(t), nil, append(newPairFiles(t, one).args(), "--tls-hsts", "24h")...)
	if !strings.HasPrefix(p.line.URL, "https://127.0.0.1:") {
		t.Errorf("start line %+v", p.line)
	}
	resp, err := client(t, one).Get(p.url + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") != "max-age=86400" {
		t.Errorf("%s %s, %v", resp.Proto, resp.Status, resp.Header)
	}
	for version, good := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", p.line.Addr, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if good != (err == nil) {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
	if r := berth(t, nil, append(newPairFiles(t, newPair(t, "other.test")).args(), "healthcheck", "--addr", p.line.Addr)...); r.code != 0 {
		t.Errorf("healthcheck: %+v", r)
	}
	if r := berth(t, nil, "healthcheck", "--addr", p.line.Addr); r.code != 1 {
		t.Errorf("healthcheck without TLS: %+v", r)
	}
	p.stop()
}

// TestExpiredCertificate: `config check`, a start and a reload warn about a certificate that has
// expired, and a metric has the time.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	end := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	files := newPairFiles(t, newPairUntil(t, "expired.test", end))
	const warning = "(CN=expired.test) expired at 2020-01-02T03:04:05Z"
	if r := berth(t, nil, append([]string{"config", "check"}, files.args()...)...); r.code != 0 || strings.Count(r.stderr, warning) != 1 {
		t.Errorf("config check: %+v", r)
	}
	p := serve(t, newData(t), nil, append(files.args(), "--debug-addr", "127.0.0.1:0")...)
	if n := strings.Count(p.log.String(), warning); n != 1 {
		t.Errorf("%d warnings at the start", n)
	}
	if _, _, page, err := exchange("GET", "http://"+p.line.Debug+"/metrics", nil); err != nil || !strings.Contains(string(page), "\nberth_certificate_not_after_seconds 1.577934245e+09\n") {
		t.Errorf("metrics: %v\n%s", err, page)
	}
	next := newPairUntil(t, "expired.test", end)
	files.write(files.key, next.key)
	files.write(files.certificate, next.certificate)
	p.await("the warning of the reload", func() bool { return strings.Count(p.log.String(), warning) == 2 })
	p.stop()
}

// TestCertificateIsReplaced replaces the files of a running server one after the other. Existing
// connections continue, and new ones never get a certificate without its key.
func TestCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	one, two := newPair(t, "one.test"), newPair(t, "two.test")
	files := newPairFiles(t, one)
	p := serve(t, newData(t), nil, files.args()...)
	old := client(t, one)
	ask := func() {
		t.Helper()
		resp, err := old.Get(p.url + "/v2/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	ask()

	failures := func() int { return strings.Count(p.log.String(), "reload failed") }
	files.write(files.certificate, two.certificate)
	p.await("the mismatch in the log", func() bool { return failures() > 0 })
	if got := p.peer(); got != "one.test" {
		t.Errorf("with half a pair: %s", got)
	}
	files.write(files.key, two.key)
	p.await("the new certificate", func() bool { return p.peer() == "two.test" })
	if n := failures(); n != 1 || !strings.Contains(p.log.String(), "is the key of no certificate in tls.certificate") {
		t.Errorf("%d failures in the log", n)
	}
	ask()

	if err := os.Remove(files.key); err != nil {
		t.Fatal(err)
	}
	p.await("the failure in the log", func() bool { return failures() > 1 })
	if got := p.peer(); got != "two.test" {
		t.Errorf("without a key: %s", got)
	}
	p.stop()
}

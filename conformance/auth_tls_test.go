package conformance

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
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/testserver"
)

// authority is a private certificate authority with one certificate for a server.
type authority struct {
	ca, certificate, key string // files, PEM
	pool                 *x509.CertPool
}

// newAuthority makes an authority and a certificate for names and addresses.
func newAuthority(t testing.TB, hosts ...string) *authority {
	t.Helper()
	dir := t.TempDir()
	a := &authority{ca: filepath.Join(dir, "ca.crt"), certificate: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), pool: x509.NewCertPool()}
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Private CA of a test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	rootKey, leafKey := newKey(t), newKey(t)
	writePEM(t, a.ca, "CERTIFICATE", sign(t, root, root, rootKey, rootKey))
	writePEM(t, a.certificate, "CERTIFICATE", sign(t, leaf, root, leafKey, rootKey))
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.key, "PRIVATE KEY", der)
	text, err := os.ReadFile(a.ca)
	if err != nil || !a.pool.AppendCertsFromPEM(text) {
		t.Fatalf("%s: %v", a.ca, err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, c, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// config returns a client's configuration that trusts only the authority.
func (a *authority) config() *tls.Config { return &tls.Config{RootCAs: a.pool} }

// client returns a client that trusts only the authority.
func (a *authority) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: a.config(), ForceAttemptHTTP2: true}}
}

// outsideAddr returns an address of this machine that is not on loopback, because Docker trusts
// every registry on loopback.
func outsideAddr(t testing.TB) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	testserver.SkipOrFail(t, "the machine has no address but its loopback")
	return ""
}

// startAuthServerTLS starts a server with TLS on all addresses, and returns its address outside
// loopback.
func startAuthServerTLS(t testing.TB) (g *authServer, addr string) {
	t.Helper()
	host := outsideAddr(t)
	g = startAuthServer(t, options{Listen: "0.0.0.0", TLS: newAuthority(t, "127.0.0.1", host)})
	_, port, err := net.SplitHostPort(g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return g, net.JoinHostPort(host, port)
}

// TestAuthTLS logs in, pushes and pulls over TLS, with clients that trust the authority and with
// clients that do not.
func TestAuthTLS(t *testing.T) {
	t.Parallel()
	g, addr := startAuthServerTLS(t)
	stranger, elsewhere := startAuthServerTLS(t)
	ca := g.opts.TLS.ca
	roots := "SSL_CERT_FILE=" + ca // replaces the machine's root certificates
	const unknown = "certificate signed by unknown authority"
	image := newImageLayout(t, 100<<10)
	g.seed(image, "alice/app", "1")

	g.row(t, "protocol", func(t *testing.T) {
		resp, err := g.opts.TLS.client().Get("https://" + addr + "/v2/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got, want := resp.Header.Get("WWW-Authenticate"), `Bearer realm="https://`+addr+`/v2/auth",service="berth"`; got != want || resp.Proto != "HTTP/2.0" {
			t.Errorf("by %s the challenge is %s, expected by HTTP/2 %s", resp.Proto, got, want)
		}
	})

	g.row(t, "docker", func(t *testing.T) {
		d := startDocker(t, roots)
		login := func(addr string) []string { return []string{"login", "--username", "alice", "--password-stdin", addr} }
		requireSays(t, d.refused(1, stranger.alice.password, login(elsewhere)...), unknown)
		p := g.phase("docker/")
		requireSays(t, d.refused(1, g.wrong, login(addr)...), "unauthorized: ")
		requireSays(t, d.feed([]byte(g.alice.password), login(addr)...), "Login Succeeded")
		p.inOrder("GET ping 401", "GET token 401", "GET ping 401", "GET token 200", "GET ping 200")
		ref := addr + "/alice/docker:1"
		d.run("import", d.write("layer.tar", tarball(t, "content", randomBytes(t, 100<<10))), ref)
		d.run("push", ref)
		d.run("rmi", ref)
		d.run("pull", ref)
		p.inOrder("token user:alice repository:alice/docker:pull,push", "PUT manifest alice/docker 201", "GET manifest alice/docker 200")
	})

	g.row(t, "podman", func(t *testing.T) {
		k := containersClient(t, "podman", &server{Addr: "none.invalid"}) // no insecure registry in use
		certs := filepath.Join(k.home, "certs")
		if err := os.Mkdir(certs, 0o755); err != nil {
			t.Fatal(err)
		}
		k.write("certs/ca.crt", []byte(readFile(t, ca)))
		login := func(addr string) []string {
			return []string{"login", "--cert-dir", certs, "--username", "alice", "--password-stdin", addr}
		}
		requireSays(t, k.refused(125, stranger.alice.password, login(elsewhere)...), unknown)
		p := g.phase("containers/")
		requireSays(t, k.refused(125, g.wrong, login(addr)...), "invalid username/password")
		requireSays(t, k.feed([]byte(g.alice.password), login(addr)...), "Login Succeeded!")
		p.inOrder("GET ping 401", "GET token 401", "GET ping 401", "GET token 200", "GET ping 200")
		k.run("pull", "--cert-dir", certs, addr+"/alice/app:1")
		k.run("push", "--cert-dir", certs, addr+"/alice/app:1", addr+"/alice/podman:1")
		p.inOrder("GET manifest alice/app 200", "token user:alice repository:alice/podman:pull,push", "PUT manifest alice/podman 201")
	})

	g.row(t, "crane", func(t *testing.T) {
		c := goClient(t, clientModule, cranePackage)
		c.env = append(c.env, roots)
		requireSays(t, c.refused(1, "", "digest", elsewhere+"/alice/crane:1"), unknown)
		p := g.phase("crane/")
		c.login(addr, account{"alice", g.wrong})
		requireSays(t, c.refused(1, "", "push", image.dir, addr+"/alice/crane:1"), "UNAUTHORIZED")
		c.login(addr, g.alice)
		c.run("push", image.dir, addr+"/alice/crane:1")
		if got := c.run("digest", addr+"/alice/crane:1"); got != image.digest {
			t.Errorf("crane says %s, expected %s", got, image.digest)
		}
		p.inOrder("GET token 401", "token user:alice repository:alice/crane:pull,push", "PUT manifest alice/crane 201", "HEAD manifest alice/crane 200")
	})

	g.row(t, "helm", func(t *testing.T) {
		c := goClient(t, helmModule, helmPackage)
		login := func(addr string) []string {
			return []string{"registry", "login", addr, "--ca-file", ca, "--username", "alice", "--password-stdin"}
		}
		requireSays(t, c.refused(1, stranger.alice.password, login(elsewhere)...), unknown)
		p := g.phase("Helm/")
		requireSays(t, c.refused(1, g.wrong, login(addr)...), "wrong user name or password")
		c.feed([]byte(g.alice.password), login(addr)...)
		chart := newChart(c)
		c.run("push", "--ca-file", ca, chart, "oci://"+addr+"/alice/charts")
		c.run("pull", "--ca-file", ca, "--destination", t.TempDir(), "--version", "0.1.0", "oci://"+addr+"/alice/charts/demo")
		p.inOrder("POST token 401", "GET token 401", "POST token 200", "PUT manifest alice/charts/demo 201", "GET manifest alice/charts/demo 200")
	})
}

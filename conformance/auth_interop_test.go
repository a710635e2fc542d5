package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestAuthNames logs in and pushes under every name of the machine: row 30 of the table. The token
// endpoint must have the name that the client used.
func TestAuthNames(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{Listen: "0.0.0.0"})
	_, port, err := net.SplitHostPort(g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	crane, oras := goClient(t, clientModule, cranePackage), goClient(t, clientModule, orasPackage)
	image := newImageLayout(t, 100<<10)
	for name, host := range map[string]string{"localhost": "localhost", "loopback": "127.0.0.1", "hostname": hostname, "address": outsideAddr(t)} {
		addr := net.JoinHostPort(host, port)
		g.row(t, "row30_"+name, func(t *testing.T) {
			resp, err := http.Get("http://" + addr + "/v2/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got, want := resp.Header.Get("WWW-Authenticate"), `Bearer realm="http://`+addr+`/v2/auth",service="berth"`; got != want {
				t.Errorf("the challenge is %s, expected %s", got, want)
			}
			crane, oras := crane.withTest(t), oras.withTest(t)
			crane.login(addr, g.alice)
			p := g.phase("crane/")
			crane.run("push", "--insecure", image.dir, addr+"/alice/crane-"+name+":1")
			p.inOrder("GET token 200", "PUT manifest alice/crane-"+name+" 201")
			oras.login(addr, g.alice)
			p = g.phase("oras/")
			oras.run("cp", "--from-oci-layout", image.dir+":latest", "--to-plain-http", addr+"/alice/oras-"+name+":1")
			p.inOrder("GET token 200", "PUT manifest alice/oras-"+name+" 201")
		})
	}
}

// distribution is a registry of another vendor that accepts Berth's tokens.
type distribution struct {
	t    testing.TB
	addr string
}

// startDistribution starts a distribution that accepts g's tokens. verify is the key of its
// configuration, rootcertbundle or jwks, with the value file.
func (g *authServer) startDistribution(program, verify, file string) distribution {
	g.t.Helper()
	dir := g.t.TempDir()
	d := distribution{g.t, testserver.FreeAddr(g.t)}
	config := filepath.Join(dir, "config.json") // JSON is YAML
	err := os.WriteFile(config, encode(g.t, map[string]any{
		"version": "0.1",
		"log":     map[string]any{"level": "debug"},
		"storage": map[string]any{"filesystem": map[string]any{"rootdirectory": filepath.Join(dir, "data")}},
		"http":    map[string]any{"addr": d.addr},
		"auth": map[string]any{"token": map[string]any{
			"realm": g.URL + "/v2/auth", "service": "berth", "issuer": g.issuer(), verify: file,
		}},
	}), 0o644)
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	cmd.SysProcAttr = dieWithParent()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	// Do not look for a collector of traces.
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		<-done
		if d.t.Failed() {
			d.t.Logf("%s wrote\n%s", program, log.String())
		}
	})
	if err := awaitUp(done, func() error {
		resp, err := http.Get("http://" + d.addr + "/v2/")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			g.t.Fatalf("%s without a token: %s", program, resp.Status)
		}
		return nil
	}); err != nil {
		g.t.Fatalf("%s does not answer: %v", program, err)
	}
	return d
}

// answers requires the statuses of /v2/, of the repository that the token is for, and of another
// repository.
func (d distribution) answers(token string, ping, own, other int) {
	d.t.Helper()
	for path, want := range map[string]int{"/v2/": ping, "/v2/alice/app/manifests/1": own, "/v2/alice/other/manifests/1": other} {
		req, err := http.NewRequest(http.MethodGet, "http://"+d.addr+path, nil)
		if err != nil {
			d.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			d.t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			d.t.Errorf("GET %s with our token: %s, expected %d\n%s", path, resp.Status, want, body)
		}
	}
}

// issuer returns the issuer of the server's tokens.
func (g *authServer) issuer() string {
	g.t.Helper()
	_, body := g.get("/.well-known/openid-configuration")
	var doc struct{ Issuer string }
	if err := json.Unmarshal(body, &doc); err != nil || doc.Issuer == "" {
		g.t.Fatalf("the discovery document is %s, %v", body, err)
	}
	return doc.Issuer
}

// token fetches a token as a client does.
func (g *authServer) token(a account, scope string) string {
	g.t.Helper()
	resp, err := g.as(a).Get(g.URL + "/v2/auth?" + url.Values{"service": {"berth"}, "scope": {scope}}.Encode())
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK || answer.Token == "" {
		g.t.Fatalf("asking for a token: %s, %v", resp.Status, err)
	}
	return answer.Token
}

// TestAuthInterop uses Berth's tokens with registries of other vendors: row 31 of the table. The
// status 404 means that the token was accepted for a manifest that does not exist.
func TestAuthInterop(t *testing.T) {
	t.Parallel()
	old, err := exec.LookPath("docker-registry")
	if err != nil {
		testserver.SkipOrFail(t, "docker-registry is not installed (Debian package docker-registry)")
	}
	current := goClient(t, distributionModule, "github.com/distribution/distribution/v3/cmd/registry").path
	const taken, refused = http.StatusOK, http.StatusUnauthorized
	for _, x5c := range []bool{false, true} {
		g := startAuthServer(t, options{Args: []string{fmt.Sprintf("--auth-compat-x5c=%t", x5c)}})
		dir := t.TempDir()
		certificate, jwks := filepath.Join(dir, "berth.pem"), filepath.Join(dir, "jwks.json")
		if err := os.WriteFile(certificate, []byte(g.berth("", "key", "certificate")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, keys := g.get("/.well-known/jwks.json")
		if err := os.WriteFile(jwks, keys, 0o644); err != nil {
			t.Fatal(err)
		}
		token := g.token(g.alice, "repository:alice/app:pull")
		for _, c := range []struct {
			name, program, verify, file string
			takes                       bool
		}{
			{"distribution_2.8_certificate", old, "rootcertbundle", certificate, x5c},
			{"distribution_3_jwks", current, "jwks", jwks, !x5c},
			{"distribution_3_certificate", current, "rootcertbundle", certificate, true},
		} {
			name := strings.Join([]string{"row31", c.name, map[bool]string{false: "plain", true: "x5c"}[x5c]}, "_")
			g.row(t, name, func(t *testing.T) {
				d := g.startDistribution(c.program, c.verify, c.file)
				if c.takes {
					d.answers(token, taken, http.StatusNotFound, refused)
				} else {
					d.answers(token, refused, refused, refused)
				}
				d.answers(token[:len(token)-6]+"AAAAAA", refused, refused, refused)
			})
		}
	}
}

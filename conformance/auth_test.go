package conformance

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The TestAuth tests use a registry with users with common clients. Their rows have numbers: 1 to 9
// docker, 10 to 13 skopeo, 14 to 16 podman, 17 to 19 crane, 20 and 21 regctl, 22 and 23 oras, 24
// and 25 helm, 26 cosign, 27 and 28 containerd's ctr, 29 tokens that expire during a push with six
// of them, 30 the names of the machine, 31 other registries that accept Berth's tokens, 33 a user
// who is removed during a push. Each row checks the exit status, the output of the client, and the
// log and audit of the server. The latter are necessary because several clients succeed by a
// fallback.

// usersPolicy gives alice the repositories below alice and public, and the catalog. It gives bob
// those below bob. Everyone may pull what is below public without credentials.
const usersPolicy = `policy:
  - name: alice
    who: ["user:alice"]
    repos: ["alice/**", "public/**"]
    allow: [push, delete, catalog]
  - name: bob
    who: ["user:bob"]
    repos: ["bob/**"]
    allow: [push]
  - name: everyone
    who: [anonymous]
    repos: ["public/**"]
    allow: [pull]
`

// account is a user name with its password.
type account struct{ name, password string }

// authServer is a server with the users of usersPolicy. Its own requests, such as get and manifest,
// use alice's password. At the end of its test, nothing that it wrote may contain a secret.
type authServer struct {
	*server
	alice, bob account
	wrong      string // a password that no user has
	policy     string // path of the policy file
	audit      string // path of the audit file
	output     strings.Builder
}

// startAuthServer adds the users with commands and starts a server.
func startAuthServer(t testing.TB, o options) *authServer {
	t.Helper()
	dir := t.TempDir()
	o.Data = filepath.Join(dir, "data")
	g := &authServer{
		server: &server{t: t, Data: o.Data},
		alice:  account{"alice", rand.Text()}, bob: account{"bob", rand.Text()}, wrong: rand.Text(),
		policy: filepath.Join(dir, "policy.yaml"), audit: filepath.Join(dir, "audit.log"),
	}
	if err := os.WriteFile(g.policy, []byte(usersPolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, a := range []account{g.alice, g.bob} {
		g.berth(a.password, "user", "add", a.name, "--password-stdin")
	}
	o.Args = append(slices.Clone(o.Args), "--auth-policy", g.policy, "--audit-file", g.audit)
	t.Cleanup(g.requireNoSecrets) // runs after startBerth's cleanup has stopped the server
	g.server = startBerth(t, o)
	g.client = g.as(g.alice)
	return g
}

// berth runs a command on the server's data and returns its output.
func (g *authServer) berth(stdin string, args ...string) string {
	g.t.Helper()
	out, err := feed("", []byte(stdin), nil, berthBinary(g.t), append(args, "--data", g.Data)...)
	if err != nil {
		g.t.Fatal(err)
	}
	g.output.WriteString(out)
	return strings.TrimSpace(out)
}

// basic adds a user's name and password to each request.
type basic struct {
	account
	next http.RoundTripper
}

func (b basic) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(b.name, b.password)
	return b.next.RoundTrip(r)
}

// as returns a client that authenticates with a user's password.
func (g *authServer) as(a account) *http.Client {
	transport := &http.Transport{}
	if g.opts.TLS != nil {
		transport.TLSClientConfig = g.opts.TLS.config()
	}
	return &http.Client{Transport: basic{a, transport}}
}

// login stores a password in the client's Docker configuration file, without a check by the
// registry.
func (c client) login(addr string, a account) {
	c.t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(a.name + ":" + a.password))
	c.write("config.json", encode(c.t, map[string]any{"auths": map[string]any{addr: map[string]string{"auth": auth}}}))
}

// seed pushes an image as alice.
func (g *authServer) seed(l layout, repository, tag string) {
	g.t.Helper()
	c := &caller{base: g.URL, http: g.as(g.alice)}
	payload := l.blob(g.t, l.digest)
	var doc document
	if err := json.Unmarshal(payload, &doc); err != nil {
		g.t.Fatal(err)
	}
	for _, d := range append(doc.Layers, doc.Config) {
		b := l.blob(g.t, d.Digest)
		a := c.do(request{method: "POST", path: "/v2/" + repository + "/blobs/uploads/?digest=" + d.Digest, body: strings.NewReader(string(b)), length: int64(len(b))})
		if a.status != http.StatusCreated {
			g.t.Fatalf("POST: %v", a)
		}
	}
	if a := c.putManifest(repository, tag, doc.MediaType, payload); a.status != http.StatusCreated {
		g.t.Fatalf("PUT: %v", a)
	}
}

// row runs a row of the table as a subtest, to which the server also reports. It returns whether
// the row passed, for rows that depend on it.
func (g *authServer) row(t *testing.T, name string, f func(t *testing.T)) bool {
	return t.Run(name, func(t *testing.T) {
		defer func(outer testing.TB) { g.t = outer }(g.t)
		g.t = t
		f(t)
	})
}

// phase is what the server logs from a moment on: the requests of one client, and the audit.
type phase struct {
	g     *authServer
	agent string // prefix of the client's User-Agent
	from  int
}

// marks is the number of the last mark, so that marks are unique.
var marks atomic.Uint64

// phase begins a phase. Requests that were answered before are not in it.
func (g *authServer) phase(agent string) phase {
	g.t.Helper()
	id := fmt.Sprintf("mark-%d", marks.Add(1))
	req, err := http.NewRequest(http.MethodGet, g.URL+"/v2/", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("X-Request-Id", id)
	client := http.DefaultClient
	if g.opts.TLS != nil {
		client = g.opts.TLS.client()
	}
	resp, err := client.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		g.t.Fatalf("GET /v2/ with nothing shown: %s", resp.Status)
	}
	g.Await(id, func(l logLine) bool { return l.ClientID == id })
	at := slices.IndexFunc(g.Log(), func(l logLine) bool { return l.ClientID == id })
	return phase{g, agent, at + 1}
}

// lines are the phase's lines so far, in short:
//
//	GET token 200
//	POST uploads alice/app 202
//	login user:alice ok
//	login alice refused
//	token user:alice repository:alice/app:pull,push
//	denied user:bob push alice/app
//	write user:alice PUT manifest alice/app
func (p phase) lines() []string {
	var lines []string
	for _, l := range p.g.Log()[p.from:] {
		switch {
		case strings.HasPrefix(l.ClientID, "mark-"):
		case l.Msg == "request" && strings.HasPrefix(l.UserAgent, p.agent):
			lines = append(lines, joinWords(l.Method, l.Route, l.Repository, fmt.Sprint(l.Status)))
		case l.Msg != "audit":
		case l.Event == "login" && l.Outcome == "ok":
			lines = append(lines, joinWords("login", l.subject(), "ok"))
		case l.Event == "login":
			lines = append(lines, joinWords("login", l.Claimed, "refused"))
		case l.Event == "token":
			lines = append(lines, joinWords("token", l.subject(), l.Granted))
		case l.Event == "denied":
			lines = append(lines, joinWords("denied", l.subject(), l.Permission, l.Repository))
		case l.Event == "write":
			lines = append(lines, joinWords("write", l.subject(), l.Method, l.Route, l.Repository))
		}
	}
	return lines
}

// subject returns the identity of an audit line.
func (l logLine) subject() string { return strings.TrimSuffix(l.Kind+":"+l.Name, ":") }

// joinWords joins the words that are not empty.
func joinWords(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// await waits until ok is true for the phase's lines, and fails the test if that takes too long.
func (p phase) await(what string, ok func(lines []string) bool) {
	p.g.t.Helper()
	var lines []string
	if !poll(10*time.Second, func() bool { lines = p.lines(); return ok(lines) }) {
		p.g.t.Errorf("%s, but the log is\n\t%s", what, strings.Join(lines, "\n\t"))
	}
}

// inOrder requires these lines in this order, with others between them.
func (p phase) inOrder(want ...string) {
	p.g.t.Helper()
	p.await("expected in this order: "+strings.Join(want, ", "), func(lines []string) bool {
		left := want
		for _, line := range lines {
			if len(left) > 0 && line == left[0] {
				left = left[1:]
			}
		}
		return len(left) == 0
	})
}

// has requires each of these lines, in any order.
func (p phase) has(want ...string) {
	p.g.t.Helper()
	p.await("expected: "+strings.Join(want, ", "), func(lines []string) bool {
		return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(lines, w) })
	})
}

// hasTimes requires a line n times. The client must have ended.
func (p phase) hasTimes(n int, want string) {
	p.g.t.Helper()
	p.g.phase(p.agent) // waits until all answered requests are in the log
	p.await(fmt.Sprintf("expected %d times: %s", n, want), func(lines []string) bool {
		others := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l == want })
		return len(lines)-len(others) == n
	})
}

// hasNone requires that there is no line with one of these prefixes. The client must have ended.
func (p phase) hasNone(beginnings ...string) {
	p.g.t.Helper()
	p.g.phase(p.agent)
	for _, line := range p.lines() {
		for _, b := range beginnings {
			if strings.HasPrefix(line, b) {
				p.g.t.Errorf("expected no %s, but the log is\n\t%s", b, strings.Join(p.lines(), "\n\t"))
			}
		}
	}
}

// requireNothingFrom requires that a caller was allowed nothing below a namespace.
func (p phase) requireNothingFrom(caller, namespace string) {
	p.g.t.Helper()
	p.g.phase(p.agent)
	for _, l := range p.g.Log()[p.from:] {
		if l.Msg == "request" && l.Caller == caller && strings.HasPrefix(l.Repository, namespace+"/") && l.Status < 400 {
			p.g.t.Errorf("%s got %s", caller, l.Raw)
		}
	}
}

// requireSays requires texts in the output of a client.
func requireSays(t testing.TB, said string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(said, w) {
			t.Errorf("expected it to say %q, it says: %s", w, said)
		}
	}
}

// jwt matches JSON Web Tokens.
var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+`)

// requireNoSecrets requires that the output of the server and of all commands contains no password
// and no token.
func (g *authServer) requireNoSecrets() {
	audit, err := os.ReadFile(g.audit)
	if err != nil && g.cmd != nil {
		g.t.Errorf("the audit's file: %v", err)
	}
	wrote := map[string]string{"its log": g.tail(len(g.Log())), "its output": g.stdout.String(), "the audit": string(audit), "a command": g.output.String()}
	secrets := []string{g.alice.password, g.bob.password, g.wrong}
	for _, a := range []account{g.alice, g.bob, {"alice", g.wrong}, {"bob", g.wrong}} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(a.name+":"+a.password)))
	}
	for where, text := range wrote {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				g.t.Errorf("%s shows the secret %s", where, secret)
			}
		}
		if token := jwt.FindString(text); token != "" {
			g.t.Errorf("%s shows the token %s", where, token)
		}
	}
}

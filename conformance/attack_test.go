package conformance

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth/authtest"
	"github.com/berth-registry/berth/internal/testserver"
)

// awaitLog waits until n lines of the log contain a text.
func (g *authServer) awaitLog(n int, text string) {
	g.t.Helper()
	found := 0
	if !poll(20*time.Second, func() bool {
		found = 0
		for _, l := range g.Log() {
			if strings.Contains(l.Raw, text) {
				found++
			}
		}
		return found >= n
	}) {
		g.t.Fatalf("the log has %d times %q, expected %d", found, text, n)
	}
}

// reloaded is in the log when a new policy is in force.
const reloaded = `"msg":"reloaded","setting":"auth.policy"`

// TestA6PolicyReload: an invalid policy file changes nothing and is reported, when the server
// notices the change itself and on SIGHUP.
func TestA6PolicyReload(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	alice := &caller{base: g.URL, http: g.as(g.alice)}
	bob := &caller{base: g.URL, http: g.as(g.bob)}
	post := func(c *caller, repository string) int {
		return c.do(request{method: "POST", path: "/v2/" + repository + "/blobs/uploads/"}).status
	}
	inForce := func(when string) {
		t.Helper()
		for repository, want := range map[string][2]int{"alice/app": {202, 403}, "bob/app": {403, 202}, "public/app": {202, 403}} {
			if got := [2]int{post(alice, repository), post(bob, repository)}; got != want {
				t.Errorf("%s: pushing to %s is answered %v to alice and bob, expected %v", when, repository, got, want)
			}
		}
	}
	write := func(text string) {
		t.Helper()
		next := g.policy + ".next"
		if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, g.policy); err != nil {
			t.Fatal(err)
		}
	}
	const failed = "reload failed"
	inForce("at first")
	const bobRules = `policy:
  - name: bob
    who: ["user:bob"]
    repos: ["**"]
    allow: [push]
`
	for i, c := range []struct{ name, text, says string }{
		{"a syntax error", bobRules + "  - {name: [\n", "policy.yaml:7"},
		{"an unknown action", strings.Replace(bobRules, "push", "pusch", 1), "policy.yaml:5"},
		{"an unknown key", bobRules + "    alow: [pull]\n", "policy.yaml:6"},
		{"a test that fails", bobRules + "tests:\n  - {as: \"user:alice\", repo: alice/app, want: [push]}\n", "policy.yaml:7"},
		{"nothing", "", "policy"},
	} {
		write(c.text)
		g.awaitLog(2*i+1, failed)
		inForce(c.name)
		g.Signal(syscall.SIGHUP)
		g.awaitLog(2*i+2, failed)
		inForce(c.name + ", after SIGHUP")
		g.awaitLog(1, c.says)
	}
	if err := os.Remove(g.policy); err != nil {
		t.Fatal(err)
	}
	g.awaitLog(11, failed)
	inForce("no file")

	write(bobRules)
	g.awaitLog(1, reloaded)
	for repository, want := range map[string][2]int{"alice/app": {403, 202}, "bob/app": {403, 202}} {
		if got := [2]int{post(alice, repository), post(bob, repository)}; got != want {
			t.Errorf("the right one: pushing to %s is answered %v to alice and bob, expected %v", repository, got, want)
		}
	}
}

// TestN1Names: no command makes an account or a group with a name that could be mistaken for
// another kind of identity. A user whose name begins like that of a service is a user.
func TestN1Names(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	names := []string{
		"robot+x", "_token", "_x", "anonymous", "Anonymous", "authenticated", "oidc", "OIDC", "robot", "user", "group", "cert",
		"user:alice", "robot:x", "oidc:github", "group:admins", "a:b", "a/b", "a b", "**", "*", "{user}", "!alice", "alice\n", "al\x7fice", "аlice", "", strings.Repeat("a", 129),
	}
	for _, name := range names {
		for _, args := range [][]string{
			{"user", "add", "--password-stdin"}, {"robot", "create", "--scope", "repository:**:pull"}, {"user", "add", "--password-stdin", "--group=" + name},
		} {
			command := append(slices.Clone(args), "--data", g.Data, "--", name)
			if strings.HasPrefix(args[len(args)-1], "--group=") {
				command[len(command)-1] = "carol"
			}
			if out, err := feed("", []byte("a password of theirs"), nil, berthBinary(t), command...); err == nil {
				t.Errorf("%q with the name %q: %s", args, name, out)
			}
		}
		if name == "" {
			continue
		}
		for _, secret := range []string{"a password of theirs", g.alice.password} {
			c := &caller{base: g.URL, http: g.as(account{name, secret})}
			if a := c.do(request{method: "GET", path: "/v2/"}); a.status != http.StatusUnauthorized && a.status != http.StatusTooManyRequests {
				t.Errorf("login as %q: %v", name, a)
			}
		}
	}
	var users, robots []struct{ Name string }
	decode(t, g.berth("", "user", "list", "--json"), &users)
	decode(t, g.berth("", "robot", "list", "--json"), &robots)
	if len(users) != 2 || len(robots) != 0 {
		t.Errorf("there are the users %v and the robots %v", users, robots)
	}

	g.Stop() // resets the count of failed logins
	g.berth("a password of theirs", "user", "add", "scanner-x", "--password-stdin")
	g.Restart()
	p := g.phase("")
	c := &caller{base: g.URL, http: g.as(account{"scanner-x", "a password of theirs"})}
	if a := c.do(request{method: "GET", path: "/v2/"}); a.status != http.StatusOK {
		t.Errorf("login as scanner-x: %v", a)
	}
	p.has("login user:scanner-x ok")
}

// decode decodes JSON that must be valid.
func decode(t testing.TB, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// secrets are the secrets of a run by their description.
type secrets map[string]string

// encodings returns the ways in which a secret may be written.
func encodings(name, secret string) []string {
	quoted, _ := json.Marshal(secret) // cannot fail for a string
	text := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	return []string{
		secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret),
		text(secret), strings.TrimRight(text(name+":"+secret), "="), text("_token:" + secret), text("oidc:" + secret), fmt.Sprintf("%x", secret),
	}
}

// requireNone requires that a text contains no secret in any encoding.
func (s secrets) requireNone(t testing.TB, where, text string) {
	t.Helper()
	for what, secret := range s {
		for i, form := range encodings("alice", secret) {
			if strings.Contains(text, form) {
				t.Errorf("%s has the %s (form %d)", where, what, i)
				break
			}
		}
	}
}

// TestL1NoSecretIsWritten uses every kind of secret, right and wrong, with a server that logs as
// much as it can. It also sends secrets in places where they do not belong. Then it searches every
// byte that the server and the commands have written.
//
// It does not send passwords in paths or as user names, because nothing marks them as passwords
// there. Tokens are recognized everywhere.
func TestL1NoSecretIsWritten(t *testing.T) {
	issuer := authtest.NewProvider(t)
	debugAddr := testserver.FreeAddr(t)
	g := startAuthServer(t, options{Env: []string{"BERTH_LOG_LEVEL=debug"}, Args: []string{"--debug-addr", debugAddr}})
	l := &leakTest{g: g, secrets: secrets{}, debug: "http://" + debugAddr}
	policy := fmt.Sprintf("issuers:\n  - {name: ci, url: %q, audiences: [berth], match: {repository: 'acme/*'}, identity: '{claims.repository}', ca: %q}\n", issuer.URL, issuer.CAFile) +
		usersPolicy + "  - {name: ci, who: ['oidc:ci'], repos: ['acme/**'], allow: [push]}\n  - {name: robots, who: ['robot:deployer'], repos: ['public/**'], allow: [pull]}\n"
	if err := os.WriteFile(g.policy, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	g.awaitLog(1, reloaded)

	l.add("password of alice", g.alice.password)
	l.add("password of bob", g.bob.password)
	l.add("wrong password", rand.Text()+`!"\ü%`)
	l.add("password of carol", rand.Text()+"$ !")
	l.command(l.secrets["password of carol"], "user", "add", "carol", "--password-stdin")
	l.add("new password of carol", rand.Text()+"$ !")
	l.command(l.secrets["new password of carol"], "user", "passwd", "carol", "--password-stdin")
	l.add("password that is too long", strings.Repeat(rand.Text(), 4))
	l.command(l.secrets["password that is too long"], "user", "passwd", "carol", "--password-stdin")
	l.command(g.alice.password, "user", "add", "alice", "--password-stdin")
	l.addToken("personal token", g.berth("", "token", "create", "--owner", "alice", "--scope", "repository:alice/**:pull"))
	l.addToken("token of a robot", g.berth("", "robot", "create", "deployer", "--scope", "repository:public/**:pull"))
	claims := map[string]any{"sub": "job", "aud": "berth", "repository": "acme/app"}
	l.addToken("id_token", issuer.Sign(claims))
	l.addToken("exchanged id_token", issuer.Sign(claims))
	l.addToken("id_token of another audience", issuer.Sign(map[string]any{"sub": "job", "aud": "https://github.com/acme", "repository": "acme/app"}))
	l.addToken("session token", l.token("access_token", request{method: "POST", path: "/v2/auth", header: formType, body: form(
		"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token_type", "urn:ietf:params:oauth:token-type:id_token",
		"subject_token", l.secrets["exchanged id_token"])}))
	for name, secret := range map[string]string{
		"alice": g.alice.password, "bob": g.bob.password, "carol": l.secrets["new password of carol"], "_token": l.secrets["session token"],
		"oidc": l.secrets["id_token"], "robot+deployer": l.secrets["token of a robot"],
	} {
		l.addToken("issued token of "+name, l.token("token", request{method: "GET", path: "/v2/auth?scope=repository:alice/app:pull,push", header: basicOf(name, secret)}))
	}

	for _, secret := range l.secrets {
		l.showInHeaders(secret)
		l.showInForms(secret)
		l.showRaw(secret)
	}
	for _, what := range l.tokens {
		l.showInPaths(l.secrets[what])
		l.send(request{method: "GET", path: "/v2/auth", header: basicOf(l.secrets[what], "")})
	}
	l.attemptUploads()
	l.command("", "user", "list", "--json")
	l.command("", "token", "list", "--json")
	l.command("", "robot", "list", "--json")
	l.command("", "key", "list", "--json")
	l.command("", "auth", "explain", "user:alice", "push", "alice/app", "--auth-policy", g.policy)
	l.command("", "user", "remove", "carol")
	l.readAll()
}

// leakTest is a run with the secrets that it has used.
type leakTest struct {
	g       *authServer
	secrets secrets
	tokens  []string // the descriptions of the secrets that are recognized as tokens
	debug   string   // URL of the debug address
	output  bytes.Buffer
}

func (l *leakTest) add(what, secret string) { l.secrets[what] = secret }

func (l *leakTest) addToken(what, secret string) {
	l.g.t.Helper()
	if len(secret) < 40 {
		l.g.t.Fatalf("the %s is %q", what, secret)
	}
	l.add(what, secret)
	l.tokens = append(l.tokens, what)
}

// command runs a command, which may fail, and keeps its output.
func (l *leakTest) command(stdin string, args ...string) {
	cmd := exec.Command(berthBinary(l.g.t), append(args, "--data", l.g.Data)...)
	cmd.Env = append(os.Environ(), "BERTH_LOG_LEVEL=debug")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &l.output, &l.output
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(&l.output, err)
	}
}

// send sends a request on a new connection, because some requests end theirs. Any answer is
// accepted.
func (l *leakTest) send(r request) answer {
	l.g.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	c := &caller{base: l.g.URL, http: &http.Client{Transport: transport}}
	if s, ok := r.body.(*strings.Reader); ok {
		r.length = int64(s.Len())
	}
	a := c.do(r)
	if a.err != nil {
		l.g.t.Errorf("%s %s: %v", r.method, r.path, a.err)
	}
	return a
}

// token sends a request and returns the token in the answer.
func (l *leakTest) token(field string, r request) string {
	l.g.t.Helper()
	a := l.send(r)
	if a.status != http.StatusOK {
		l.g.t.Fatalf("%s: %v", r.path, a)
	}
	fields := map[string]any{}
	decode(l.g.t, string(a.body), &fields)
	text, _ := fields[field].(string)
	return text
}

var formType = map[string]string{"Content-Type": "application/x-www-form-urlencoded"}

// form returns the body of a form with names and values in turn.
func form(pairs ...string) io.Reader {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return strings.NewReader(values.Encode())
}

func basicOf(name, secret string) map[string]string {
	return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret))}
}

// showInHeaders sends a secret in Authorization, in right and wrong forms, in other header fields,
// and in the query.
func (l *leakTest) showInHeaders(secret string) {
	escaped := url.QueryEscape(secret)
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	headers := []map[string]string{
		basicOf("alice", secret), basicOf("_token", secret), basicOf("oidc", secret), basicOf("robot+deployer", secret), basicOf("nobody", secret),
		basicOf(secret+"!", ""), basicOf(secret+"!", secret), {"Authorization": "Bearer " + escaped}, {"Authorization": "Bearer"}, {"Authorization": escaped},
		{"Authorization": "Basic " + escaped}, {"Authorization": "Basic " + encoded}, {"Authorization": "Digest " + escaped}, {"Authorization": "Bearer\t" + escaped},
		{"Cookie": "session=" + escaped, "Referer": "https://x.example/?t=" + escaped, "Proxy-Authorization": escaped, "X-Api-Key": escaped, "PRIVATE-TOKEN": escaped},
		{"Content-Type": escaped, "Content-Range": escaped, "Range": "bytes=" + escaped, "Accept": escaped, "If-None-Match": escaped, "Forwarded": escaped, "X-Forwarded-For": escaped},
	}
	for _, h := range headers {
		l.send(request{method: "GET", path: "/v2/", header: h})
		l.send(request{method: "GET", path: "/v2/auth?scope=repository:alice/app:pull&account=" + escaped, header: h})
		l.send(request{method: "GET", path: "/v2/alice/app/manifests/v1", header: h})
		l.send(request{method: "POST", path: "/v2/alice/app/blobs/uploads/?digest=" + escaped + "&mount=" + escaped + "&from=" + escaped, header: h})
	}
	for _, parameter := range []string{"token", "access_token", "password", "service", "scope", "account", "client_id", "n", "last", "_state", "artifactType"} {
		for _, path := range []string{"/v2/", "/v2/auth", "/v2/_catalog", "/v2/alice/app/tags/list", "/livez", "/nowhere"} {
			l.send(request{method: "GET", path: path + "?" + parameter + "=" + escaped, header: basicOf("alice", l.g.alice.password)})
		}
	}
}

// showInForms sends a secret in each field of the token endpoint's form, and in a manifest.
func (l *leakTest) showInForms(secret string) {
	post := func(body io.Reader) {
		l.send(request{method: "POST", path: "/v2/auth", header: formType, body: body})
	}
	for _, grant := range []string{"password", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange", secret} {
		post(form("grant_type", grant, "username", "alice", "password", secret, "refresh_token", secret, "subject_token", secret,
			"subject_token_type", "urn:ietf:params:oauth:token-type:id_token", "service", "", "client_id", secret))
	}
	post(form("grant_type", "password", "username", secret+"!", "password", secret, "scope", secret))
	post(form("grant_type", "password", "password", secret, "password", secret))
	post(form("grant_type", "password", "username", "alice", "password", l.g.alice.password, "service", secret))
	post(strings.NewReader("grant_type=password&password=%zz" + url.QueryEscape(secret)))
	l.send(request{method: "POST", path: "/v2/auth", header: map[string]string{"Content-Type": "application/json"}, body: strings.NewReader(`{"password":"` + secret)})
	h := basicOf("alice", l.g.alice.password)
	h["Content-Type"] = ociManifest
	l.send(request{method: "PUT", path: "/v2/alice/app/manifests/v1", header: h, body: strings.NewReader(`{"schemaVersion":"` + secret)})
}

// showRaw sends requests that no HTTP client would send.
func (l *leakTest) showRaw(secret string) {
	for _, text := range []string{
		"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization Basic %s\r\n\r\n",
		"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization : Basic %s\r\n\r\n",
		"GET /v2/ HTTP/1.1\r\nHost: %s\r\n\r\n",
		"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAuthorization: Bearer %s\r\n\r\n",
		"GET /v2/ HTTP/9.9 %s\r\n\r\n",
		"GET http://alice:%s@x/v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v2/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 1%s\r\n\r\n",
		"POST /v2/auth HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %s\r\n\r\n",
		"%s\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", l.g.Addr)
		if err != nil {
			l.g.t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprint(conn, strings.ReplaceAll(text, "%s", secret))
		if err := conn.(*net.TCPConn).CloseWrite(); err == nil {
			io.Copy(io.Discard, conn) // any answer, or none
		}
		conn.Close()
	}
}

// showInPaths sends a token in the parts of a request that the log has.
func (l *leakTest) showInPaths(token string) {
	for _, h := range []map[string]string{
		{"User-Agent": "curl/" + token, "X-Request-Id": token},
		{"User-Agent": "curl/" + token, "X-Request-Id": token, "Authorization": basicOf("alice", l.g.alice.password)["Authorization"]},
	} {
		for _, path := range []string{
			"/" + token, "/v2/" + token, "/v2/" + token + "/tags/list", "/v2/alice/app/manifests/" + token, "/v2/alice/app/blobs/" + token,
			"/v2/alice/app/blobs/sha256:" + token, "/v2/alice/app/blobs/uploads/" + token, "/v2/alice/app/referrers/" + token,
		} {
			for _, method := range []string{"GET", "PUT", "DELETE", "HEAD"} {
				l.send(request{method: method, path: path, header: h})
			}
		}
	}
}

// attemptUploads pushes with a registry token and with a personal token that may not push.
func (l *leakTest) attemptUploads() {
	bearer := map[string]string{"Authorization": "Bearer " + l.secrets["issued token of alice"]}
	l.send(request{method: "POST", path: "/v2/alice/app/blobs/uploads/", header: bearer})
	l.send(request{method: "POST", path: "/v2/bob/app/blobs/uploads/", header: bearer})
	l.send(request{method: "POST", path: "/v2/alice/app/blobs/uploads/", header: basicOf("_token", l.secrets["personal token"])})
	l.send(request{method: "DELETE", path: "/v2/alice/app/manifests/v1", header: bearer})
}

// readAll searches everything that was written: metrics and profiles, the database of the running
// server and, after a crash that prints all stacks, the log and the audit.
func (l *leakTest) readAll() {
	t := l.g.t
	t.Helper()
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1"} {
		a := (&caller{base: l.debug, http: http.DefaultClient}).do(request{method: "GET", path: path})
		if a.status != http.StatusOK {
			t.Errorf("%s: %v", path, a)
		}
		l.secrets.requireNone(t, path, string(a.body))
	}
	l.secrets.requireNone(t, "what the commands said", l.output.String())
	files := 0
	err := filepath.WalkDir(l.g.Data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		l.secrets.requireNone(t, path, string(content))
		return nil
	})
	if err != nil || files < 2 {
		t.Errorf("%d files of data: %v", files, err)
	}
	l.g.Signal(syscall.SIGQUIT)
	<-l.g.done
	audit, err := os.ReadFile(l.g.audit)
	if err != nil {
		t.Error(err)
	}
	l.secrets.requireNone(t, "the audit's file", string(audit))
	l.secrets.requireNone(t, "the server's output", l.g.stdout.String())
	l.secrets.requireNone(t, "the log", l.g.tail(len(l.g.Log())))
	for _, want := range []string{`"msg":"request"`, `"msg":"audit"`, `"level":"DEBUG"`, "SIGQUIT", `"event":"session"`, "[token]"} {
		l.g.awaitLog(1, want)
	}
	if len(audit) < 1<<10 || l.output.Len() < 1<<9 {
		t.Errorf("%d bytes of audit, %d of commands", len(audit), l.output.Len())
	}
}

package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/authtest"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/oidc"
	"github.com/berth-registry/berth/auth/policy"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/auth/token"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/storage"
)

const (
	service  = "registry.test"
	issuer   = "https://registry.test"
	lifetime = 5 * time.Minute
	grace    = time.Hour
)

// usualPolicy is the policy of a guardedSite.
const usualPolicy = `
policy:
  - {name: public, who: [anonymous, authenticated], repos: ["public/**"], allow: [pull]}
  - {name: own, who: [authenticated], repos: ["{user}/**"], allow: [push, delete]}
  - {name: catalog, who: [authenticated, anonymous], repos: ["**"], allow: [catalog]}
  - {name: team, who: ["group:team"], repos: ["team/**"], allow: [push, delete]}
  - {name: robots, who: ["robot:deployer"], repos: ["prod/**"], allow: [pull]}
  - {name: ci, who: ["oidc:ci"], repos: ["ci/**"], allow: [push]}
`

// guardedSite is a site with users, tokens, and a policy that can be replaced. It has the parts of
// the program, except that clients connect without TLS.
//
// Its users are alice (of the group team), bob and carol, whose passwords are "password of alice"
// and so on. Its robot is deployer.
type guardedSite struct {
	*site
	db     *db.DB
	rows   *rows.DB // in db
	clock  *clock
	policy *replaceablePolicy
	ci     *authtest.Provider
	audit  *testAuditor

	accounts map[string]int64 // ids, by kind and name

	mu      sync.Mutex
	secrets map[string]string // secrets that must not be in any log, with their descriptions
}

// clock is a clock that the test advances.
type clock struct {
	base  time.Time
	ahead atomic.Int64
}

func (c *clock) Now() time.Time          { return c.base.Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// replaceablePolicy is a policy that the test replaces.
type replaceablePolicy struct {
	current   atomic.Pointer[policy.Policy]
	issuers   string       // section of the policy file, prepended to every policy
	decisions atomic.Int64 // number of decisions made
}

func (c *replaceablePolicy) Decide(id auth.Identity, from netip.Addr, p auth.Permission, repo string) auth.Decision {
	c.decisions.Add(1)
	return c.current.Load().Decide(id, from, p, repo)
}

func (c *replaceablePolicy) View(id auth.Identity, from netip.Addr) auth.View {
	v := c.current.Load().View(id, from)
	if allows := v.Allows; allows != nil {
		v.Allows = func(repo string) bool {
			c.decisions.Add(1)
			return allows(repo)
		}
	}
	return v
}

func (c *replaceablePolicy) AllowsAnonymous() bool { return c.current.Load().AllowsAnonymous() }

func (c *replaceablePolicy) set(t testing.TB, text string) {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(c.issuers+text))
	if err != nil {
		t.Fatal(err)
	}
	c.current.Store(p)
}

// authParts are an Auth and the parts that it was made from, in memory.
type authParts struct {
	db     *db.DB
	rows   *rows.DB // in db
	clock  *clock
	policy *replaceablePolicy
	ci     *authtest.Provider
	auth   *Auth
}

func newAuthParts(t testing.TB, changes ...func(*login.Options)) authParts {
	t.Helper()
	ctx := context.Background()
	p := authParts{clock: &clock{base: time.Now()}, policy: &replaceablePolicy{}, ci: authtest.NewProvider(t)}
	p.ci.Now = p.clock.Now
	p.policy.issuers = fmt.Sprintf("issuers:\n  - {name: ci, url: %q, audiences: [%q], match: {repository: 'acme/*'}, identity: '{claims.repository}', ca: %q}\n",
		p.ci.URL, "https://"+service, p.ci.CAFile)
	p.policy.set(t, usualPolicy)
	var err error
	p.db = dbtest.Open(t, dbtest.Memory)
	p.rows = rows.New(p.db)
	source := oidc.New(oidc.Options{Issuers: func() []auth.Issuer { return p.policy.current.Load().Issuers() }, Now: p.clock.Now})
	p.auth = &Auth{}
	logins := login.Options{Rows: p.rows, CI: source, CITokens: source, Now: p.clock.Now}
	for _, change := range changes {
		change(&logins)
	}
	if p.auth.Logins, err = login.New(ctx, logins); err != nil {
		t.Fatal(err)
	}
	p.auth.Tokens, err = token.Open(ctx, token.Options{
		Rows: p.rows, Issuer: issuer, Service: service, TTL: lifetime, UploadGrace: grace, Now: p.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newGuardedSite serves a registry with users. When the test ends it looks for secrets in all that
// was logged. changes are applied to the options of the logins.
func newGuardedSite(t *testing.T, o Options, changes ...func(*login.Options)) *guardedSite {
	t.Helper()
	return serveGuarded(t, newRegistry(t, "mem://", storage.Options{}), o, changes...)
}

func serveGuarded(t *testing.T, registry Registry, o Options, changes ...func(*login.Options)) *guardedSite {
	t.Helper()
	parts := newAuthParts(t, changes...)
	g := &guardedSite{db: parts.db, rows: parts.rows, clock: parts.clock, policy: parts.policy, ci: parts.ci, secrets: make(map[string]string), accounts: make(map[string]int64),
		audit: newAuditor()}
	o.Auth, o.Policy, o.Now = parts.auth, parts.policy, parts.clock.Now
	o.Audit = g.audit
	g.site = serveRegistry(t, registry, o)
	for name, groups := range map[string][]string{"alice": {"team"}, "bob": nil, "carol": nil} {
		g.addUser(name, groups...)
	}
	g.addAccount("robot", "deployer", "")
	keys, err := g.rows.SigningKeys(g.t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		g.keepSecret(k.PEM, "signing key")
	}
	t.Cleanup(g.checkLogs)
	return g
}

// keepSecret registers a secret that must not be logged, and returns it.
func (g *guardedSite) keepSecret(s, what string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secrets[s] = what
	return s
}

// checkLogs looks for secrets in the logs: unchanged, and escaped as in JSON and URLs.
func (g *guardedSite) checkLogs() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, text := range map[string]string{"log": g.log.String(), "audit": g.audit.String()} {
		for secret, what := range g.secrets {
			quoted, _ := json.Marshal(secret)
			for _, form := range []string{secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret)} {
				if strings.Contains(text, form) {
					g.t.Errorf("the %s has the %s", name, what)
					break
				}
			}
		}
	}
}

func passwordOf(name string) string { return "password of " + name }

func (g *guardedSite) addUser(name string, groups ...string) int64 {
	g.t.Helper()
	return g.addAccount("user", name, g.keepSecret(passwordOf(name), "password of "+name[:1]+"…"), groups...)
}

// addAccount creates an account. With an empty password there is no login by password.
func (g *guardedSite) addAccount(kind, name, password string, groups ...string) (id int64) {
	g.t.Helper()
	a := rows.Account{Kind: kind, Name: name, Groups: groups, CreatedAt: g.clock.Now().UnixMicro()}
	if password != "" {
		a.PasswordHash, a.PasswordCost = g.hash(password), bcrypt.MinCost
	}
	g.tx(func(tx *rows.Tx) (err error) {
		id, err = tx.CreateAccount(a)
		return err
	})
	g.accounts[kind+" "+name] = id
	return id
}

func (g *guardedSite) hash(password string) string {
	g.t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.keepSecret(string(hash), "hash of a password")
}

func (g *guardedSite) tx(fn func(tx *rows.Tx) error) {
	g.t.Helper()
	if err := g.rows.Tx(context.Background(), fn); err != nil {
		g.t.Fatal(err)
	}
}

// addToken creates a personal or robot token that is valid for 90 days.
func (g *guardedSite) addToken(kind, name, scope string) (secret string, id int64) {
	g.t.Helper()
	of := login.PersonalToken
	if kind == "robot" {
		of = login.RobotToken
	}
	secret, hash := login.NewSecret(of)
	g.keepSecret(secret, "token of "+kind)
	now, owner := g.clock.Now(), g.accounts[kind+" "+name]
	g.tx(func(tx *rows.Tx) (err error) {
		id, err = tx.CreateAuthToken(rows.AuthToken{
			AccountID: owner, Kind: string(of), Name: "test", Hash: hash, Scope: scope,
			CreatedAt: now.UnixMicro(), ExpiresAt: now.Add(90 * 24 * time.Hour).UnixMicro(),
		})
		return err
	})
	return secret, id
}

// idToken returns the ID token of a job of a repository.
func (g *guardedSite) idToken(repository string) string {
	return g.keepSecret(g.ci.Sign(map[string]any{"sub": "job of " + repository, "aud": "https://" + service, "repository": repository, "jti": time.Now().String()}), "id_token")
}

func basicHeader(name, secret string) header {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, secret)
	return header{"Authorization": r.Header.Get("Authorization")}
}

func passwordHeader(name string) header { return basicHeader(name, passwordOf(name)) }

func bearerHeader(token string) header { return header{"Authorization": "Bearer " + token} }

// with returns the header with the fields of more.
func (h header) with(more header) header {
	all := header{}
	for _, one := range []header{h, more} {
		for k, v := range one {
			all[k] = v
		}
	}
	return all
}

// tokenResponse is an answer of the token endpoint.
type tokenResponse struct {
	Token       string
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string
	TokenType   string `json:"token_type"`
	IssuedAt    string `json:"issued_at"`
	Username    string
}

// requestToken requests a registry token with GET.
func (g *guardedSite) requestToken(credentials header, scopes ...string) (tokenResponse, *http.Response) {
	g.t.Helper()
	q := url.Values{"service": {service}, "scope": scopes}
	resp, body := g.exchange(exchangeCase{Name: "ask for a token", Method: "GET", URL: tokenPath + "?" + q.Encode(), Header: credentials, WantCode: 200,
		WantHeader: header{"Content-Type": "application/json", "Cache-Control": "no-store"}})
	return g.parseTokenResponse(body), resp
}

func (g *guardedSite) parseTokenResponse(body string) tokenResponse {
	g.t.Helper()
	var i tokenResponse
	if err := json.Unmarshal([]byte(body), &i); err != nil {
		g.t.Fatalf("%q: %v", body, err)
	}
	for _, token := range []string{i.Token, i.AccessToken} {
		if token != "" {
			g.keepSecret(token, "issued token")
		}
	}
	return i
}

// tokenHeader returns a header with a registry token for a user.
func (g *guardedSite) tokenHeader(name string, scopes ...string) header {
	g.t.Helper()
	i, _ := g.requestToken(passwordHeader(name), scopes...)
	return bearerHeader(i.Token)
}

// anonymousTokenHeader returns a header with an anonymous registry token.
func (g *guardedSite) anonymousTokenHeader(scopes ...string) header {
	g.t.Helper()
	i, _ := g.requestToken(nil, scopes...)
	return bearerHeader(i.Token)
}

// accessOf returns the access of an issued registry token, as a scope.
func (g *guardedSite) accessOf(i tokenResponse) string {
	g.t.Helper()
	version, err := g.API.auth.Logins.Version(context.Background())
	if err != nil {
		g.t.Fatal(err)
	}
	grant, err := g.API.auth.Tokens.Verify(context.Background(), i.Token, version)
	if err != nil {
		g.t.Fatal(err)
	}
	return scopeText(grant.Access)
}

// challenge returns the challenge that is wanted for the site's own address.
func (g *guardedSite) challenge(scope, problem string) string {
	text := `Bearer realm="http://` + g.addr + tokenPath + `",service="` + service + `"`
	if scope != "" {
		text += `,scope="` + scope + `"`
	}
	if problem != "" {
		text += `,error="` + problem + `"`
	}
	return text
}

// status sends a request and returns the status of its answer.
func (g *guardedSite) status(method, path string, h header, body string) int {
	g.t.Helper()
	resp, _ := g.do(method, path, h, body)
	return resp.StatusCode
}

// do sends a request and returns the answer. It checks only that the answer does not contain the
// secret in the request's Authorization.
func (g *guardedSite) do(method, path string, h header, body string) (*http.Response, string) {
	g.t.Helper()
	req, err := http.NewRequest(method, "http://"+g.addr+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for k, v := range h {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	if _, secret, ok := strings.Cut(h["Authorization"], " "); ok && len(secret) > 8 {
		for k, v := range resp.Header {
			if strings.Contains(strings.Join(v, " "), secret) {
				g.t.Errorf("%s %s: %s has what Authorization had", method, path, k)
			}
		}
		if strings.Contains(string(text), secret) {
			g.t.Errorf("%s %s: the body has what Authorization had", method, path)
		}
	}
	return resp, string(text)
}

// runCasesAs makes the exchanges with the fields of h added to each.
func (g *guardedSite) runCasesAs(h header, cases []exchangeCase) {
	g.t.Helper()
	for _, c := range cases {
		c.Header = h.with(c.Header)
		g.exchange(c)
	}
}

// pushBlobAs pushes a blob with the header h.
func (g *guardedSite) pushBlobAs(h header, repo, content string) (d string) {
	g.t.Helper()
	d = sha256Of(content)
	g.exchange(exchangeCase{
		Name: "push a blob", Method: "POST", URL: "/v2/" + repo + "/blobs/uploads/?digest=" + d, Header: h, Body: content, WantCode: 201,
	})
	return d
}

// pushImageAs pushes an image and its blobs with the header h.
func (g *guardedSite) pushImageAs(h header, repo, tag string) (d string) {
	g.t.Helper()
	g.pushBlobAs(h, repo, "{}")
	g.pushBlobAs(h, repo, "layer of "+repo)
	payload := image("{}", "layer of "+repo, "")
	g.exchange(exchangeCase{
		Name: "push an image", Method: "PUT", URL: "/v2/" + repo + "/manifests/" + tag,
		Header: h.with(header{"Content-Type": imageType}), Body: payload, WantCode: 201,
	})
	return sha256Of(payload)
}

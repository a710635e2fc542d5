package api

import (
	"fmt"
	"maps"
	"net/url"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth/authtest"
)

// githubRules let jobs of one owner push: those of releases under the name of their
// repository, those of pull requests to scratch.
const githubRules = `
policy:
  - name: release
    who: ["oidc:github"]
    when: {claims: {repository_owner_id: "1234567", ref: ["refs/heads/main", "refs/tags/v*"], event_name: push}}
    repos: ["{claims.repository}/**"]
    allow: [push]
  - name: pull-request
    who: ["oidc:github"]
    when: {claims: {repository_owner_id: "1234567", event_name: pull_request}}
    repos: ["scratch/{claims.repository}/**"]
    allow: [push]
`

// usersRules have no issuers.
const usersRules = `policy: [{name: users, who: authenticated, repos: "**", allow: push}]`

// newGitHubSite returns a site that trusts GitHub Actions, whose issuer is simulated by g.ci.
func newGitHubSite(t *testing.T) *guardedSite {
	t.Helper()
	g := newGuardedSite(t, Options{})
	g.trustGitHub("1234567")
	return g
}

// trustGitHub sets the policy that trusts jobs of an owner.
func (g *guardedSite) trustGitHub(owner string) {
	g.t.Helper()
	g.policy.issuers = fmt.Sprintf("issuers:\n  - {name: github, url: %q, audiences: [%q], match: {repository_owner_id: %q}, identity: '{claims.repository}', ca: %q}\n",
		g.ci.URL, issuer, owner, g.ci.CAFile)
	g.policy.set(g.t, githubRules)
}

// jobToken returns the ID token of a GitHub job with some claims changed.
func (g *guardedSite) jobToken(changes map[string]any) string {
	g.t.Helper()
	claims := authtest.GitHubClaims(issuer)
	maps.Copy(claims, changes)
	return g.keepSecret(g.ci.Sign(claims), "id_token")
}

// exchangeForm returns the request that exchanges an ID token for a login session (RFC 8693, 2.1).
func exchangeForm(idToken string) exchangeCase {
	return exchangeCase{
		Name: "exchange", Method: "POST", URL: tokenPath, Header: header{"Content-Type": "application/x-www-form-urlencoded"},
		Body: url.Values{"grant_type": {grantExchange}, "subject_token_type": {typeIDToken}, "subject_token": {idToken}}.Encode(),
	}
}

// loginSessionHeader exchanges an ID token and returns a header with the credentials of the login
// session.
func (g *guardedSite) loginSessionHeader(idToken string) header {
	g.t.Helper()
	c := exchangeForm(idToken)
	c.WantCode = 200
	_, body := g.exchange(c)
	i := g.parseTokenResponse(body)
	if i.AccessToken == "" || i.Token != "" || i.TokenType != "N_A" || i.ExpiresIn < 3590 || i.ExpiresIn > 3600 {
		g.t.Errorf("session %+v", i)
	}
	return basicHeader(i.Username, i.AccessToken)
}

const jobScope = "repository:acme/app/web:pull,push"

// checkJobPush checks that a job may push to its repository, and to no other.
func (g *guardedSite) checkJobPush(credentials header) {
	g.t.Helper()
	i, _ := g.requestToken(credentials, jobScope, "repository:acme/other:pull,push", "repository:acme/app/web:delete", "registry:catalog:*")
	if got := g.accessOf(i); got != jobScope {
		g.t.Errorf("the token gives %q, expected %q", got, jobScope)
	}
	g.pushImageAs(bearerHeader(i.Token), "acme/app/web", "v1")
	if got := g.status("POST", "/v2/acme/other/blobs/uploads/", bearerHeader(i.Token), ""); got != 401 {
		g.t.Errorf("pushing to another repository is %d", got)
	}
}

// TestJobLogsIn logs in as docker login -u oidc does, with an ID token as the password.
func TestJobLogsIn(t *testing.T) {
	g := newGitHubSite(t)
	credentials := basicHeader("oidc", g.jobToken(nil))
	g.checkJobPush(credentials)
	g.checkJobPush(credentials) // a job logs in more than once

	form := url.Values{"grant_type": {grantPassword}, "username": {"oidc"}, "password": {g.jobToken(nil)}, "scope": {jobScope}}
	_, body := g.exchange(exchangeCase{Name: "by a form", Method: "POST", URL: tokenPath, Body: form.Encode(), WantCode: 200,
		Header: header{"Content-Type": "application/x-www-form-urlencoded"}})
	if i := g.parseTokenResponse(body); i.Scope != jobScope {
		t.Errorf("the scope is %q", i.Scope)
	}

	request := map[string]any{"ref": "refs/pull/7/merge", "event_name": "pull_request"}
	i, _ := g.requestToken(basicHeader("oidc", g.jobToken(request)), jobScope, "repository:scratch/acme/app/web:push")
	if got := g.accessOf(i); got != "repository:scratch/acme/app/web:push" {
		t.Errorf("a pull request's token gives %q", got)
	}
}

// TestJobOpensSession checks that an ID token is exchanged once, for a secret that is valid longer.
func TestJobOpensSession(t *testing.T) {
	g := newGitHubSite(t)
	idToken := g.jobToken(nil)
	session := g.loginSessionHeader(idToken)
	g.checkJobPush(session)

	again := exchangeForm(idToken)
	again.WantCode, again.WantError = 401, "UNAUTHORIZED"
	g.exchange(again)

	g.clock.advance(authtest.TokenTTL + time.Minute)
	g.checkJobPush(session)
	g.clock.advance(time.Hour)
	if got := g.status("GET", "/v2/", session, ""); got != 401 {
		t.Errorf("a session of an hour and more: %d", got)
	}
}

// TestJobNow checks that changes of issuers and rules act on the next request of running jobs.
func TestJobNow(t *testing.T) {
	g := newGitHubSite(t)
	session := g.loginSessionHeader(g.jobToken(nil))
	i, _ := g.requestToken(basicHeader("oidc", g.jobToken(nil)), jobScope)
	everyone := map[string]header{"session": session, "token": bearerHeader(i.Token)}
	check := func(when string, want int) {
		t.Helper()
		for what, credentials := range everyone {
			if got := g.status("POST", "/v2/acme/app/web/blobs/uploads/", credentials, ""); got != want {
				t.Errorf("%s: a %s gets %d, expected %d", when, what, got, want)
			}
		}
	}
	check("trusted", 202)
	g.trustGitHub("7654321")
	check("another owner is trusted", 401)
	g.trustGitHub("1234567")
	check("trusted again", 202)
	g.policy.issuers = ""
	g.policy.set(t, usersRules)
	check("no issuer is trusted", 401)
}

// TestJobRefused checks that the answer is the same for every invalid ID token.
func TestJobRefused(t *testing.T) {
	g := newGitHubSite(t)
	stranger := authtest.NewProvider(t)
	stranger.Now = g.clock.Now
	g.checkJobPush(basicHeader("oidc", g.jobToken(nil)))
	asked := g.ci.TotalRequests()
	var first string
	for name, idToken := range map[string]string{
		"audience that GitHub gives": g.jobToken(map[string]any{"aud": "https://github.com/acme"}),
		"no audience":                g.jobToken(map[string]any{"aud": nil}),
		"X3 issuer that is not ours": g.keepSecret(stranger.Sign(authtest.GitHubClaims(issuer)), "id_token"),
		"another acme":               g.jobToken(map[string]any{"repository_owner_id": "7654321"}),
		"no owner":                   g.jobToken(map[string]any{"repository_owner_id": nil}),
		"no name":                    g.jobToken(map[string]any{"repository": nil}),
		"a name that breaks the log": g.jobToken(map[string]any{"repository": "acme/app\nlevel=INFO"}),
		"J4 expired":                 g.jobToken(map[string]any{"exp": g.clock.Now().Add(-time.Minute).Unix()}),
		"J2 a key that nobody knows": g.keepSecret(stranger.Sign(map[string]any{"iss": g.ci.URL, "aud": issuer, "sub": "x"}), "id_token"),
	} {
		resp, body := g.do("GET", tokenPath+"?scope="+url.QueryEscape(jobScope), basicHeader("oidc", idToken), "")
		if resp.StatusCode != 401 || first != "" && body != first {
			t.Errorf("%s: %d %s, expected 401 %s", name, resp.StatusCode, body, first)
		}
		first = body
	}
	if n := g.ci.TotalRequests() - asked + stranger.TotalRequests(); n != 0 {
		t.Errorf("%d requests went out for them", n)
	}
}

// TestJ5IDTokenAsBearer checks that an ID token is accepted by the token endpoint only, and not as
// a Bearer token.
func TestJ5IDTokenAsBearer(t *testing.T) {
	g := newGitHubSite(t)
	for _, path := range []string{"/v2/", "/v2/acme/app/web/tags/list"} {
		resp, _ := g.do("GET", path, bearerHeader(g.jobToken(nil)), "")
		scope := ""
		if path != "/v2/" {
			scope = "repository:acme/app/web:pull"
		}
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || got != g.challenge(scope, invalidToken) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
	}
	if n := g.ci.TotalRequests(); n != 0 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// TestIssuerDown checks that an unreachable issuer is not answered as a wrong password, and that
// logins work when it is reachable again.
func TestIssuerDown(t *testing.T) {
	g := newGitHubSite(t)
	g.ci.Fail(true)
	credentials := basicHeader("oidc", g.jobToken(nil))
	down := exchangeCase{Name: "login", Method: "GET", URL: tokenPath, Header: credentials, WantCode: 503, WantError: "UNAVAILABLE"}
	g.exchange(down)
	form := exchangeForm(g.jobToken(nil))
	form.WantCode, form.WantError = 503, "UNAVAILABLE"
	g.exchange(form)
	if n := g.ci.TotalRequests(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	g.ci.Fail(false)
	g.clock.advance(time.Minute)
	g.checkJobPush(credentials)
	g.checkJobPush(g.loginSessionHeader(g.jobToken(nil)))
}

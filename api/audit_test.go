package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// auditLines returns the audit lines without the fields that differ from run to run.
func (g *guardedSite) auditLines() []string {
	g.t.Helper()
	var lines []string
	for line := range strings.Lines(g.audit.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || m["msg"] != "audit" {
			g.t.Fatalf("a line of the audit is %q: %v", line, err)
		}
		if !strings.Contains(g.log.String(), `"id":"`+m["id"].(string)+`"`) {
			g.t.Errorf("the log has no request of the audit's line %q", line)
		}
		var parts []string
		for _, k := range []string{"event", "kind", "name", "credential", "from", "issuer", "outcome", "claimed", "asked", "granted", "permission", "repository", "reference", "digest", "method", "rule"} {
			if v, ok := m[k].(string); ok && v != "" {
				parts = append(parts, k+"="+v)
			}
		}
		lines = append(lines, strings.Join(parts, " "))
	}
	return lines
}

func TestAudit(t *testing.T) {
	g := newGuardedSite(t, Options{})
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	alice := g.tokenHeader("alice", "repository:team/app:pull,push,delete", "repository:bob/app:pull")
	g.do("GET", tokenPath, basicHeader("alice", g.keepSecret("guess", "guess")), "")
	g.do("GET", tokenPath, basicHeader(g.keepSecret("a password typed as a name", "hunter2inTheWrongPlace"), "x"), "")
	personal, _ := g.addToken("user", "alice", "repository:team/**:pull")
	g.do("GET", tokenPath, basicHeader(personal, ""), "")
	g.do("GET", "/v2/", passwordHeader("bob"), "")
	g.do("GET", "/v2/", nil, "")
	g.do("GET", pulled, nil, "")
	g.anonymousTokenHeader("repository:public/app:pull")
	d := g.pushBlobAs(alice, "team/app", "{}")
	g.runCasesAs(alice, []exchangeCase{
		{Name: "a session is no write", Method: "POST", URL: uploads, WantCode: 202, Save: "upload"},
		{Name: "a chunk neither", Method: "PATCH", URL: "{upload}", Body: "x", WantCode: 202},
		{Name: "its end is", Method: "PUT", URL: "{upload}?digest=" + sha256Of("x"), WantCode: 201},
		{Name: "nor is what fails", Method: "PUT", URL: "/v2/team/app/manifests/v1", Body: "{}", WantCode: 400},
		{Name: "a manifest", Method: "PUT", URL: "/v2/team/app/manifests/v1", Header: header{"Content-Type": imageType}, Body: image("{}", "x", ""), WantCode: 201},
		{Name: "a tag goes", Method: "DELETE", URL: "/v2/team/app/manifests/v1", WantCode: 202},
		{Name: "another's", Method: "GET", URL: "/v2/bob/app/tags/list", WantCode: 401},
		{Name: "more than the token", Method: "DELETE", URL: "/v2/alice/app/manifests/v1", WantCode: 401},
	})
	g.do("GET", pulled, passwordHeader("bob"), "")
	g.do("GET", pulled, bearerHeader("x.y.z"), "")
	g.do("POST", tokenPath, form, url.Values{"grant_type": {grantExchange}, "subject_token_type": {typeIDToken}, "subject_token": {g.idToken("acme/app")}}.Encode())
	m := sha256Of(image("{}", "x", ""))
	const user, here = " kind=user name=alice credential=password", " from=127.0.0.1"
	want := []string{
		"event=login" + user + here + " outcome=ok",
		"event=token" + user + here + " asked=repository:team/app:delete,pull,push repository:bob/app:pull granted=repository:team/app:delete,pull,push",
		"event=login" + here + " outcome=wrong user name or password claimed=alice",
		"event=login" + here + " outcome=wrong user name or password",
		"event=login" + here + " outcome=wrong user name or password",
		"event=login kind=user name=bob credential=password" + here + " outcome=ok",
		"event=token kind=anonymous" + here + " asked=repository:public/app:pull granted=repository:public/app:pull",
		"event=write" + user + here + " permission=push repository=team/app digest=" + d + " method=POST rule=team",
		"event=write" + user + here + " permission=push repository=team/app reference={id} digest=" + sha256Of("x") + " method=PUT rule=team",
		"event=write" + user + here + " permission=push repository=team/app reference=v1 digest=" + m + " method=PUT rule=team",
		"event=write" + user + here + " permission=delete repository=team/app reference=v1 method=DELETE rule=team",
		"event=denied" + user + here + " permission=pull repository=bob/app rule=no rule allows it",
		"event=denied" + user + here + " permission=delete repository=alice/app reference=v1 rule=outside the token's access",
		"event=denied kind=user name=bob credential=password" + here + " permission=pull repository=team/app rule=no rule allows it",
		"event=denied" + here + " permission=pull repository=team/app rule=invalid token: ",
		"event=login kind=oidc name=acme/app credential=session:2" + here + " issuer=ci outcome=ok",
		"event=session kind=oidc name=acme/app credential=session:2" + here + " issuer=ci",
	}
	_, id := g.savedUpload()
	got := g.auditLines()
	for i := range max(len(got), len(want)) {
		var a, b string
		if i < len(got) {
			a = got[i]
		}
		if i < len(want) {
			b = strings.ReplaceAll(want[i], "{id}", id)
		}
		if a != b && !(strings.HasSuffix(b, ": ") && strings.HasPrefix(a, b)) {
			t.Errorf("line %d is\n%s, want\n%s", i, a, b)
		}
	}
	for _, line := range got {
		if !strings.Contains(g.log.String(), `"msg":"audit"`) {
			t.Errorf("the log lacks %s", line)
		}
	}
}

// TestAuditIDsAreUnique: clients cannot make two requests share the id of the log and the audit.
// Their own X-Request-Id is in another field, and in the answer.
func TestAuditIDsAreUnique(t *testing.T) {
	g := newGuardedSite(t, Options{})
	const theirs = "chosen-1"
	h := passwordHeader("bob").with(header{"X-Request-Id": theirs})
	for range 2 {
		if resp, _ := g.do("GET", pulled, h, ""); resp.Header.Get("X-Request-Id") != theirs {
			t.Errorf("the answer has X-Request-Id %q", resp.Header.Get("X-Request-Id"))
		}
	}
	seen := map[string]bool{}
	for line := range strings.Lines(g.audit.String()) {
		var m struct {
			ID     string
			Client string `json:"client_request_id"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.ID == theirs || m.Client != theirs {
			t.Errorf("%v: %s", err, line)
			continue
		}
		seen[m.ID] = true
		g.log.await(`"msg":"request"`, `"id":"`+m.ID+`"`, `"client_request_id":"`+theirs+`"`)
	}
	if len(seen) != 2 {
		t.Errorf("two denials have the ids %v", seen)
	}
}

// TestAuditOfOpenRegistry checks that writes of unauthenticated callers have audit lines too, if
// there is an Auditor.
func TestAuditOfOpenRegistry(t *testing.T) {
	audit := newAuditor()
	s := newSite(t, Options{Audit: audit})
	s.pushBlob("team/app", "x")
	if line := audit.await(`"event":"write"`); !strings.Contains(line, `"repository":"team/app"`) || !strings.Contains(line, `"from":"127.0.0.1"`) {
		t.Errorf("a write is %s", line)
	}
	if strings.Contains(s.log.String(), `"msg":"audit"`) {
		t.Error("the log of an open registry has the audit")
	}
}

// TestL1NoSecretIsLogged uses every kind of secret, valid and invalid, also in the wrong places.
// Every other test with a guardedSite looks for its secrets in the logs too.
func TestL1NoSecretIsLogged(t *testing.T) {
	g := newGuardedSite(t, Options{})
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	personal, _ := g.addToken("user", "alice", "repository:team/**:pull")
	robot, _ := g.addToken("robot", "deployer", "repository:prod/**:pull")
	token := strings.TrimPrefix(g.tokenHeader("alice", "repository:team/app:pull")["Authorization"], "Bearer ")
	held := []string{personal, robot, token, g.openLoginSession("acme/app"), g.idToken("acme/app")}
	for _, secret := range held { // in fields that are logged
		h := header{"User-Agent": "curl " + secret, "X-Request-Id": secret}
		for _, path := range []string{"/" + secret, "/v2/" + secret + "/tags/list", "/v2/team/app/manifests/" + secret, "/v2/team/app/blobs/" + secret, "/v2/team/app/blobs/uploads/" + secret, "/v2/team/app/referrers/" + secret} {
			g.do("GET", path, h, "")
			g.do(personal, path, passwordHeader("alice").with(h), "")
			g.do("DELETE", path, passwordHeader("bob").with(h), "")
		}
	}
	for _, secret := range append(held, passwordOf("alice"), g.keepSecret("x\"y\\z ü", "awkward password")) {
		for _, h := range []header{
			bearerHeader(secret), basicHeader("alice", secret), basicHeader(secret, secret), basicHeader(secret, ""), {"Authorization": secret},
			{"Authorization": "Digest " + url.QueryEscape(secret)}, {"Proxy-Authorization": secret}, {"Cookie": "t=" + url.QueryEscape(secret)},
			{"X-Forwarded-For": secret, "X-Forwarded-Host": secret}, {"Content-Type": secret}, {"X-Api-Key": secret},
		} {
			for _, path := range []string{"/v2/", pulled, tokenPath, tokenPath + "?account=" + url.QueryEscape(secret) + "&password=" + url.QueryEscape(secret) + "&scope=" + url.QueryEscape(secret)} {
				if strings.Contains(h["Authorization"]+h["Content-Type"], "ü") {
					continue // cannot be sent in a header
				}
				g.do("GET", path, h, "")
				g.do("PUT", "/v2/team/app/manifests/v1", h, secret)
			}
			for _, grant := range []string{"password", grantExchange, "refresh_token", secret} {
				g.do("POST", tokenPath, form, url.Values{"grant_type": {grant}, "username": {"alice"}, "password": {secret}, "subject_token": {secret}, "subject_token_type": {typeIDToken}, "refresh_token": {secret}}.Encode())
			}
		}
	}
	if text := g.log.String(); !strings.Contains(text, `"msg":"audit"`) || !strings.Contains(text, `"msg":"request"`) {
		t.Error("nothing was logged in which a secret could be")
	}
}

// TestPlainWarning sends secrets over plain HTTP from this host and from others.
func TestPlainWarning(t *testing.T) {
	const warning = "credentials arrive over plain HTTP"
	serve := func(a *API, remote string, h header) {
		r := httptest.NewRequest("GET", "http://registry.test/v2/", nil)
		r.RemoteAddr = remote
		for k, v := range h {
			r.Header.Set(k, v)
		}
		a.serve(httptest.NewRecorder(), r)
	}
	for name, c := range map[string]struct {
		remote string
		h      header
		want   int
	}{
		"from loopback":          {"127.0.0.1:1", passwordHeader("alice"), 0},
		"from loopback, IPv6":    {"[::1]:1", passwordHeader("alice"), 0},
		"nothing":                {"192.0.2.1:1", nil, 0},
		"a password":             {"192.0.2.1:1", passwordHeader("alice"), 1},
		"a token":                {"192.0.2.1:1", bearerHeader("x"), 1},
		"by a claimed proxy":     {"192.0.2.1:1", passwordHeader("alice").with(header{"X-Forwarded-Proto": "https"}), 1},
		"by a trusted proxy":     {"10.0.0.1:1", passwordHeader("alice").with(header{"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}), 0},
		"an address we know not": {"@", passwordHeader("alice"), 0},
	} {
		g := newGuardedSite(t, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		for range 3 {
			serve(g.API, c.remote, c.h)
		}
		if n := strings.Count(g.log.String(), warning); n != c.want {
			t.Errorf("%s: %d warnings, want %d", name, n, c.want)
		}
		g.clock.advance(plainWarningInterval)
		serve(g.API, c.remote, c.h)
		if n := strings.Count(g.log.String(), warning); n != 2*c.want {
			t.Errorf("%s, an hour later: %d warnings, want %d", name, n, 2*c.want)
		}
	}
}

// TestTooManyAttempts checks that a lock-out tells when it ends, and what still works meanwhile.
func TestTooManyAttempts(t *testing.T) {
	g := newGuardedSite(t, Options{})
	token := g.tokenHeader("alice", "repository:team/app:pull")
	for i := range 40 {
		g.do("GET", tokenPath, basicHeader("alice", g.keepSecret(strings.Repeat("guess", i+1), "guess")), "")
	}
	locked := func(name, method, path string, h header, body string) {
		t.Helper()
		g.exchange(exchangeCase{Name: name, Method: method, URL: path, Header: h, Body: body, WantCode: 429, WantError: "TOOMANYREQUESTS",
			WantHeader: header{"Www-Authenticate": absent, "Retry-After": "6"}}) // the clock stands still
	}
	wrong := basicHeader("alice", g.keepSecret("one guess more", "guess"))
	locked("for a token", "GET", tokenPath, wrong, "")
	locked("directly", "GET", pulled, wrong, "")
	locked("in a form", "POST", tokenPath, header{"Content-Type": "application/x-www-form-urlencoded"}, "grant_type=password&username=alice&password=one+guess+more")
	g.runCases([]exchangeCase{
		{Name: "with a token", Method: "GET", URL: pulled, Header: token, WantCode: 404, WantError: "NAME_UNKNOWN"},
		{Name: "with the password that is remembered", Method: "GET", URL: pulled, Header: passwordHeader("alice"), WantCode: 404, WantError: "NAME_UNKNOWN"},
		{Name: "nobody", Method: "GET", URL: tokenPath, WantCode: 200},
	})
}

// TestUnavailable checks that an unreachable issuer or database is not answered as a wrong
// password.
func TestUnavailable(t *testing.T) {
	g := newGuardedSite(t, Options{})
	token := g.tokenHeader("alice", "repository:team/app:pull")
	g.ci.Fail(true)
	g.runCases([]exchangeCase{{Name: "an issuer that fails", Method: "GET", URL: tokenPath, Header: basicHeader("oidc", g.idToken("acme/app")), WantCode: 503, WantError: "UNAVAILABLE",
		WantHeader: header{"Www-Authenticate": absent, "Retry-After": "5"}}})
	if err := g.db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]header{"token": token, "password": basicHeader("bob", passwordOf("bob"))} {
		g.exchange(exchangeCase{Name: name, Method: "GET", URL: pulled, Header: h, WantCode: 503, WantError: "UNAVAILABLE", WantHeader: header{"Www-Authenticate": absent}})
	}
}

// TestWellKnown reads the documents by which other services verify tokens.
func TestWellKnown(t *testing.T) {
	g := newGuardedSite(t, Options{ExternalURLs: []string{issuer}})
	_, body := g.exchange(exchangeCase{Name: "discovery", Method: "GET", URL: "/.well-known/openid-configuration", WantCode: 200, WantHeader: header{"Content-Type": "application/json", "Cache-Control": "no-store"}})
	var raw map[string]any
	if err := json.Unmarshal([]byte(body), &raw); err != nil || raw["issuer"] != issuer || raw["jwks_uri"] != issuer+jwksPath || raw["token_endpoint"] != issuer+tokenPath {
		t.Errorf("discovery is %s, %v", body, err)
	}
	_, body = g.exchange(exchangeCase{Name: "keys", Method: "GET", URL: jwksPath, WantCode: 200, WantHeader: header{"Content-Type": "application/json", "Cache-Control": "public, max-age=3600"}})
	var keys struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(body), &keys); err != nil || len(keys.Keys) == 0 {
		t.Fatalf("keys are %s, %v", body, err)
	}
	for _, k := range keys.Keys {
		if k["kty"] != "EC" || k["crv"] != "P-256" || k["alg"] != "ES256" || k["use"] != "sig" || k["kid"] == "" || k["x"] == "" || k["y"] == "" || k["d"] != "" {
			t.Errorf("a key is published as %v", k)
		}
	}
	g.exchange(exchangeCase{Name: "head", Method: "HEAD", URL: jwksPath, WantCode: 200})
	g.exchange(exchangeCase{Name: "post", Method: "POST", URL: jwksPath, WantCode: 405, WantError: "UNSUPPORTED"})
	for _, method := range []string{"OPTIONS", "HEAD", "PUT"} {
		g.exchange(exchangeCase{Name: method, Method: method, URL: tokenPath, WantCode: 405, WantError: "UNSUPPORTED", WantHeader: header{"Allow": "GET, POST"}})
	}
}

// TestTokenAnswers checks the answers of the token endpoint, for each kind of request.
func TestTokenAnswers(t *testing.T) {
	g := newGuardedSite(t, Options{})
	form := header{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
	ok := func(name, method, path string, h header, body string) map[string]any {
		t.Helper()
		_, text := g.exchange(exchangeCase{Name: name, Method: method, URL: path, Header: h, Body: body, WantCode: 200, WantHeader: header{"Cache-Control": "no-store", "Set-Cookie": absent, "Access-Control-Allow-Origin": absent}})
		g.parseTokenResponse(text)
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if m["token"] != m["access_token"] || m["token"] == "" || m["expires_in"] != lifetime.Seconds() || m["issued_at"] != nil || m["refresh_token"] != nil {
			t.Errorf("%s: %v", name, m)
		}
		return m
	}
	m := ok("as docker logs in", "GET", tokenPath+"?account=alice&client_id=docker&offline_token=true&service="+service, passwordHeader("alice"), "")
	if _, there := m["scope"]; there {
		t.Errorf("GET is answered %v", m)
	}
	m = ok("as containerd does", "POST", tokenPath, form, url.Values{"grant_type": {"password"}, "service": {service}, "client_id": {"containerd-client"}, "access_type": {"offline"},
		"username": {"alice"}, "password": {passwordOf("alice")}, "scope": {"repository:team/app:pull repository:team/app:push"}}.Encode())
	if m["scope"] != "repository:team/app:pull,push" || m["token_type"] != "Bearer" {
		t.Errorf("POST is answered %v", m)
	}
	m = ok("as helm does", "POST", tokenPath, form, url.Values{"grant_type": {"password"}, "service": {service}, "username": {"alice"}, "password": {passwordOf("alice")}}.Encode())
	if m["scope"] != "" {
		t.Errorf("POST without a scope is answered %v", m)
	}
	ok("nobody", "GET", tokenPath+"?scope=repository:public/app:pull", nil, "")
	ok("nobody, in Basic", "GET", tokenPath, header{"Authorization": "Basic Og=="}, "")
	ok("nobody, in a form", "POST", tokenPath, form, "grant_type=password")

	refused := func(name, method string, h header, body string, code int, oauth string) {
		t.Helper()
		c := exchangeCase{Name: name, Method: method, URL: tokenPath, Header: h, Body: body, WantCode: code, WantHeader: header{"Cache-Control": "no-store"}}
		if code == http.StatusUnauthorized {
			c.WantError = "UNAUTHORIZED"
			c.WantHeader["Www-Authenticate"] = `Basic realm="` + service + `"`
		}
		_, text := g.exchange(c)
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil || m["error"] != oauth || m["error_description"] == "" {
			t.Errorf("%s: %s, %v", name, text, err)
		}
	}
	refused("a wrong password", "GET", basicHeader("alice", g.keepSecret("guess", "guess")), "", 401, "invalid_client")
	refused("no such user", "GET", basicHeader("nobody", "x"), "", 401, "invalid_client")
	refused("a wrong password in a form", "POST", form, "grant_type=password&username=alice&password=guess", 401, "invalid_client")
	refused("an id_token that is none", "POST", form, url.Values{"grant_type": {grantExchange}, "subject_token_type": {typeIDToken}, "subject_token": {"x"}}.Encode(), 401, "invalid_client")
	refused("another kind of subject", "POST", form, url.Values{"grant_type": {grantExchange}, "subject_token_type": {"urn:x"}, "subject_token": {"x"}}.Encode(), 400, "invalid_request")
	refused("no grant", "POST", form, "", 400, "unsupported_grant_type")
	refused("another grant", "POST", form, "grant_type=client_credentials", 400, "unsupported_grant_type")
	refused("a form in a content coding", "POST", form.with(header{"Content-Encoding": "gzip"}), "grant_type=password", 415, "invalid_request")
	refused("no form", "POST", nil, "grant_type=password", 400, "invalid_request")
	g.policy.set(t, "policy:\n  - {name: users, who: [authenticated], repos: ['**'], allow: [pull]}\n")
	refused("nobody, where nobody may anything", "GET", nil, "", 401, "invalid_client")
	if id := g.idToken("acme/app"); g.status("POST", tokenPath, form, exchangeFormOf(id)) != 200 || g.status("POST", tokenPath, form, exchangeFormOf(id)) != 401 {
		t.Error("an id_token is not exchanged exactly once")
	}
}

func exchangeFormOf(idToken string) string {
	return url.Values{"grant_type": {grantExchange}, "subject_token_type": {typeIDToken}, "subject_token": {idToken}}.Encode()
}

package api

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-registry/berth/auth"
)

// TestChallenges sends requests without credentials, and with invalid and insufficient ones, to
// every route. It compares the whole challenge.
func TestChallenges(t *testing.T) {
	g := newGuardedSite(t, Options{})
	d := sha256Of("x")
	nothing := g.tokenHeader("bob")
	for _, c := range []struct{ method, path, scope, detail string }{
		{"GET", "/v2/", "", ""},
		{"GET", "/v2", "", ""},
		{"HEAD", "/v2/", "", ""},
		{"GET", "/v2/_catalog", "registry:catalog:*", `[{"Type":"registry","Name":"catalog","Action":"*"}]`},
		{"GET", "/v2/team/app/tags/list", "repository:team/app:pull", `[{"Type":"repository","Name":"team/app","Action":"pull"}]`},
		{"GET", "/v2/team/app/manifests/v1", "repository:team/app:pull", ""},
		{"HEAD", "/v2/team/app/manifests/v1", "repository:team/app:pull", ""},
		{"GET", "/v2/team/app/blobs/" + d, "repository:team/app:pull", ""},
		{"HEAD", "/v2/team/app/blobs/" + d, "repository:team/app:pull", ""},
		{"GET", "/v2/team/app/referrers/" + d, "repository:team/app:pull", ""},
		{"PUT", "/v2/team/app/manifests/v1", "repository:team/app:pull,push", `[{"Type":"repository","Name":"team/app","Action":"pull"},{"Type":"repository","Name":"team/app","Action":"push"}]`},
		{"DELETE", "/v2/team/app/manifests/v1", "repository:team/app:delete", ""},
		{"DELETE", "/v2/team/app/blobs/" + d, "repository:team/app:delete", ""},
		{"POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push", ""},
		{"POST", "/v2/team/app/blobs/uploads/?mount=" + d + "&from=team/base", "repository:team/app:pull,push repository:team/base:pull", ""},
		{"POST", "/v2/team/app/blobs/uploads/?mount=" + d + "&from=team/app", "repository:team/app:pull,push", ""},
		{"POST", "/v2/team/app/blobs/uploads/?from=team/base", "repository:team/app:pull,push", ""},
		{"POST", "/v2/team/app/blobs/uploads/?mount=" + d + "&from=../base", "repository:team/app:pull,push", ""},
		{"POST", "/v2/team/app/blobs/uploads/?mount=" + d, "repository:team/app:pull,push", ""},
		{"GET", "/v2/team/app/blobs/uploads/x", "repository:team/app:pull,push", ""},
		{"PATCH", "/v2/team/app/blobs/uploads/x", "repository:team/app:pull,push", ""},
		{"PUT", "/v2/team/app/blobs/uploads/x?digest=" + d, "repository:team/app:pull,push", ""},
		{"DELETE", "/v2/team/app/blobs/uploads/x", "repository:team/app:pull,push", ""},
	} {
		refused := exchangeCase{Method: c.method, URL: c.path, WantCode: 401, WantError: "UNAUTHORIZED", WantDetail: c.detail}
		say := func(name string, h header, problem string) {
			t.Helper()
			e := refused
			e.Name, e.Header = name, h
			e.WantHeader = header{"Www-Authenticate": g.challenge(c.scope, problem), "Cache-Control": "no-store", "Connection": absent}
			g.exchange(e)
		}
		say("nothing", nil, "")
		say("Basic of nobody", header{"Authorization": "Basic Og=="}, "")
		say("a bad token", bearerHeader("x.y.z"), invalidToken)
		say("a wrong password", basicHeader("alice", g.keepSecret("wrong guess", "guess")), invalidToken)
		if c.scope != "" {
			say("a token for nothing", nothing, insufficientScope)
			if c.path != "/v2/_catalog" {
				e := refused
				e.Name, e.Header, e.WantCode, e.WantError, e.WantDetail = "Basic of who may not", passwordHeader("bob"), 403, "DENIED", ""
				e.WantHeader = header{"Www-Authenticate": absent}
				g.exchange(e)
			}
		}
	}
	// Without users there is no token endpoint.
	open := newSite(t, Options{Policy: denyPermission(auth.Pull)})
	open.runCases([]exchangeCase{
		{Name: "open", Method: "GET", URL: "/v2/", WantCode: 200},
		{Name: "open", Method: "GET", URL: "/v2/a/tags/list", WantCode: 403, WantError: "DENIED", WantHeader: header{"Www-Authenticate": absent}},
		{Name: "open", Method: "GET", URL: tokenPath, WantCode: 404, WantError: "NAME_UNKNOWN"},
		{Name: "open", Method: "GET", URL: "/.well-known/jwks.json", WantCode: 404, WantError: "NAME_UNKNOWN"},
	})
}

// TestGuardedPing checks that every authenticated caller may ping, and no other.
func TestGuardedPing(t *testing.T) {
	g := newGuardedSite(t, Options{})
	personal, _ := g.addToken("user", "alice", "repository:team/**:pull")
	robot, _ := g.addToken("robot", "deployer", "repository:prod/**:pull")
	for name, h := range map[string]header{
		"token":              g.tokenHeader("alice", "repository:team/app:pull"),
		"token for nothing":  g.tokenHeader("bob"),
		"anonymous token":    g.anonymousTokenHeader("repository:public/app:pull"),
		"empty anonymous":    g.anonymousTokenHeader(),
		"password":           passwordHeader("alice"),
		"personal":           basicHeader("alice", personal),
		"personal, no name":  basicHeader("_token", personal),
		"robot":              basicHeader("robot+deployer", robot),
		"id_token":           basicHeader("oidc", g.idToken("acme/app")),
		"lower case":         {"Authorization": "bearer" + strings.TrimPrefix(g.tokenHeader("alice")["Authorization"], "Bearer")},
		"Basic, upper case":  {"Authorization": "BASIC" + strings.TrimPrefix(passwordHeader("alice")["Authorization"], "Basic")},
		"more spaces before": {"Authorization": "Basic  " + strings.TrimPrefix(passwordHeader("alice")["Authorization"], "Basic ")},
	} {
		for _, path := range []string{"/v2/", "/v2"} {
			g.exchange(exchangeCase{Name: name, Method: "GET", URL: path, Header: h, WantCode: 200, WantBody: "{}", WantHeader: header{"Www-Authenticate": absent}})
		}
	}
	for name, h := range map[string]header{
		"wrong name of a personal": basicHeader("bob", personal),
		"robot as user":            basicHeader("deployer", robot),
		"no such user":             basicHeader("dave", passwordOf("alice")),
		"no password":              basicHeader("alice", ""),
		"another scheme":           {"Authorization": "Digest x"},
		"empty":                    {"Authorization": ""},
	} {
		g.exchange(exchangeCase{Name: name, Method: "GET", URL: "/v2/", Header: h, WantCode: 401, WantError: "UNAUTHORIZED",
			WantHeader: header{"Www-Authenticate": g.challenge("", invalidToken)}})
	}
	for _, path := range []string{"/livez", "/.well-known/jwks.json", "/.well-known/openid-configuration"} {
		g.exchange(exchangeCase{Name: "for everyone", Method: "GET", URL: path, WantCode: 200})
	}
}

// TestPushAndPull pushes and pulls as clients do, with tokens and with passwords.
func TestPushAndPull(t *testing.T) {
	g := newGuardedSite(t, Options{})
	for name, h := range map[string]header{
		"token":    g.tokenHeader("alice", "repository:team/app:pull,push,delete", "registry:catalog:*"),
		"push":     g.tokenHeader("alice", "repository:team/app:push,delete", "registry:catalog:*"),
		"password": passwordHeader("alice"),
	} {
		d := g.pushImageAs(h, "team/app", "v1")
		g.runCasesAs(h, []exchangeCase{
			{Name: name, Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200, WantHeader: header{"Docker-Content-Digest": d}},
			{Name: name, Method: "GET", URL: "/v2/team/app/tags/list", WantCode: 200},
			{Name: name, Method: "GET", URL: "/v2/_catalog", WantCode: 200, WantBody: `{"repositories":["team/app"]}`},
			{Name: name, Method: "GET", URL: "/v2/team/app/manifests/v2", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
			{Name: name, Method: "POST", URL: uploads, WantCode: 202, Save: "upload"},
			{Name: name, Method: "PATCH", URL: "{upload}", Body: "01", WantCode: 202},
			{Name: name, Method: "GET", URL: "{upload}", WantCode: 204},
			{Name: name, Method: "DELETE", URL: "{upload}", WantCode: 204},
			{Name: name, Method: "DELETE", URL: "/v2/team/app/manifests/" + d, WantCode: 202},
		})
	}
}

// TestGuardedMount mounts with a token. Access that the token lacks and the policy gives can be
// fetched. A source that the policy does not allow looks like one without the blob.
func TestGuardedMount(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := g.tokenHeader("alice", "repository:alice/base:push", "repository:team/base:push")
	d := g.pushBlobAs(alice, "alice/base", "content")
	g.pushBlobAs(alice, "team/base", "other content")
	const up = "/v2/alice/app/blobs/uploads/"
	narrow, wide := g.tokenHeader("alice", "repository:alice/app:pull,push"), g.tokenHeader("alice", "repository:alice/app:pull,push", "repository:alice/base:pull")
	g.runCases([]exchangeCase{
		{Name: "without its scope", Method: "POST", URL: up + "?mount=" + d + "&from=alice/base", Header: narrow, WantCode: 401, WantError: "UNAUTHORIZED",
			WantHeader: header{"Www-Authenticate": g.challenge("repository:alice/app:pull,push repository:alice/base:pull", insufficientScope)}},
		{Name: "with it", Method: "POST", URL: up + "?mount=" + d + "&from=alice/base", Header: wide, WantCode: 201},
		{Name: "from where it is not", Method: "POST", URL: up + "?mount=" + sha256Of("x") + "&from=alice/base", Header: wide, WantCode: 202},
		{Name: "from where one may not", Method: "POST", URL: up + "?mount=" + d + "&from=bob/base", Header: wide, WantCode: 202},
		{Name: "from anywhere, outside the token", Method: "POST", URL: up + "?mount=" + sha256Of("other content"), Header: narrow, WantCode: 202},
		{Name: "from anywhere, with a password", Method: "POST", URL: up + "?mount=" + sha256Of("other content"), Header: passwordHeader("alice"), WantCode: 201},
		{Name: "with a password", Method: "POST", URL: up + "?mount=" + d + "&from=alice/base", Header: passwordHeader("alice"), WantCode: 201},
		{Name: "with a password, from where one may not", Method: "POST", URL: "/v2/bob/app/blobs/uploads/?mount=" + d + "&from=alice/base", Header: passwordHeader("bob"), WantCode: 202},
	})
}

// TestRefusedBody checks that a 401 does not wait for the request's body, however much of it the
// client has sent.
func TestRefusedBody(t *testing.T) {
	g := newGuardedSite(t, Options{})
	const line = "PUT /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\n"
	for name, text := range map[string]string{
		"much that never comes":  line + "Content-Length: 1000000000\r\n\r\n",
		"one that asks":          line + "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n",
		"one that asks for much": line + "Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n",
		"what has come":          line + "Content-Length: 10\r\n\r\n0123456789",
		"chunks":                 line + "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
	} {
		resp, body := g.sendRaw(text, "PUT")
		g.check(exchangeCase{Name: name, Method: "PUT", URL: "/v2/team/app/manifests/v1", WantCode: 401, WantError: "UNAUTHORIZED"}, resp, body)
	}
	for framing := range lateBodies {
		g.checkAnswerFirst(line, framing, 401)
	}
	// A connection whose small body was drained is used again.
	conn := g.dial(line + "Content-Length: 10\r\n\r\n0123456789")
	for range 2 {
		resp, body := g.readAnswer(conn, "PUT")
		g.check(exchangeCase{Name: "goes on", Method: "PUT", URL: "/v2/", WantCode: 401, WantError: "UNAUTHORIZED"}, resp, body)
		if _, err := conn.Write([]byte(line + "Content-Length: 10\r\n\r\n0123456789")); err != nil {
			t.Fatal(err)
		}
	}
	// A body that stalls is drained for less time than an accepted body may stall.
	parts := newAuthParts(t)
	synctest.Test(t, func(t *testing.T) {
		slow, _ := serveInBubble(t, nil, Options{Auth: parts.auth, Policy: parts.policy, Now: parts.clock.Now, BodyTimeout: 2 * time.Minute})
		began := time.Now()
		if said := readUntilClosed(slow.dial(line + "Content-Length: 10\r\n\r\n0123")); !strings.HasPrefix(said, "HTTP/1.1 401 ") {
			t.Errorf("a body that stalls is answered %q", said)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("a body that stalls was waited for for %v", took)
		}
	})
}

// TestUploadGrace has tokens expire in the middle of an upload.
func TestUploadGrace(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := g.tokenHeader("alice", "repository:team/app:pull,push")
	g.runCasesAs(alice, []exchangeCase{{Name: "open", Method: "POST", URL: uploads, WantCode: 202, Save: "upload"}})
	g.clock.advance(lifetime + 2*time.Minute)
	d := sha256Of("0123456789")
	g.runCasesAs(alice, []exchangeCase{
		{Name: "another session", Method: "POST", URL: uploads, WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "a pull", Method: "GET", URL: "/v2/team/app/tags/list", WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "a ping", Method: "GET", URL: "/v2/", WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "a manifest", Method: "PUT", URL: "/v2/team/app/manifests/v1", Body: "{}", WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "its session", Method: "PATCH", URL: "{upload}", Body: "01234", WantCode: 202},
		{Name: "how far", Method: "GET", URL: "{upload}", WantCode: 204, WantHeader: header{"Range": "0-4"}},
		{Name: "its end", Method: "PUT", URL: "{upload}?digest=" + d, Body: "56789", WantCode: 201},
		{Name: "its end again", Method: "PUT", URL: "{upload}?digest=" + d, WantCode: 201},
	})
}

// TestMalformedAuthorization: the answer says what is wrong with the header field, quotes nothing
// of it, and has a challenge, at the token endpoint too.
func TestMalformedAuthorization(t *testing.T) {
	g := newGuardedSite(t, Options{})
	for value, want := range map[string]string{
		"Basic !hunter2!":     "not base64",
		"Basic aHVudGVyMg==":  "no colon", // hunter2
		"Basic":               "no colon",
		"Bearer":              "expected Bearer TOKEN",
		"Digest name=hunter2": "expected Basic",
		"hunter2":             "expected Basic",
	} {
		for _, path := range []string{"/v2/", pulled, tokenPath} {
			resp, body := g.do("GET", path, header{"Authorization": value}, "")
			if resp.StatusCode != 401 || !strings.Contains(body, "Authorization is malformed") || !strings.Contains(body, want) ||
				strings.Contains(body, "hunter2") || resp.Header.Get("Www-Authenticate") == "" {
				t.Errorf("%s with %q: %d %s", path, value, resp.StatusCode, body)
			}
		}
	}
	_, body := g.do("GET", tokenPath, header{"Authorization": "Bearer hunter2"}, "")
	if !strings.Contains(body, "gets no other token") || strings.Contains(body, "hunter2") {
		t.Errorf("a token at the token endpoint: %s", body)
	}
}

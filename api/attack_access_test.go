package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth/rows"
)

func TestS1ScopeRequests(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := passwordHeader("alice")
	for _, c := range []struct {
		name   string
		scopes []string
		want   string
	}{
		{"none", nil, ""},
		{"everything of one's own", []string{"repository:alice/a:*"}, "repository:alice/a:delete,pull,push"},
		{"everything of another's", []string{"repository:bob/a:*"}, ""},
		{"everything of what is public", []string{"repository:public/a:*"}, "repository:public/a:pull"},
		{"a pattern", []string{"repository:**:pull", "repository:alice/*:pull", "repository:alice/**:push"}, ""},
		{"two names", []string{"repository:alice/a,alice/b:pull"}, ""},
		{"any registry", []string{"registry:*:*", "registry:catalog:pull", "registry::*"}, ""},
		{"the catalog", []string{"registry:catalog:*"}, "registry:catalog:*"},
		{"an action there is not", []string{"repository:alice/a:pull,admin"}, "repository:alice/a:pull"},
		{"only actions there are not", []string{"repository:alice/a:admin", "repository:alice/b:"}, ""},
		{"a port in the name", []string{"repository:localhost:5000/alice/a:pull"}, ""},
		{"a class", []string{"repository(plugin):alice/a:pull"}, "repository:alice/a:pull"},
		{"a line end", []string{"repository:alice/a:pull\nrepository:alice/b:pull\r\nX: y"}, "repository:alice/a:pull repository:alice/b:pull"},
		{"a NUL", []string{"repository:alice/a\x00:pull"}, ""},
		{"upper case", []string{"repository:Alice/a:pull", "Repository:alice/a:pull", "repository:alice/a:PULL"}, ""},
		{"dots", []string{"repository:alice/../bob/a:pull"}, ""},
		{"escapes", []string{"repository:alice%2fa:pull"}, ""},
		{"another type", []string{"image:alice/a:pull"}, ""},
		{"joined", []string{"repository:alice/a:pull repository:alice/b:pull,push"}, "repository:alice/a:pull repository:alice/b:pull,push"},
		{"repeated", []string{"repository:alice/a:pull", "repository:alice/a:push", "repository:bob/a:push"}, "repository:alice/a:pull,push"},
		{"no scope at all", []string{"", ":", "::", "pull"}, ""},
	} {
		issued, _ := g.requestToken(alice, c.scopes...)
		if got := g.accessOf(issued); got != c.want {
			t.Errorf("%s: %q is granted, want %q", c.name, got, c.want)
		}
		form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {passwordOf("alice")}, "scope": c.scopes}
		_, body := g.exchange(exchangeCase{Name: c.name, Method: "POST", URL: tokenPath, Header: header{"Content-Type": "application/x-www-form-urlencoded"},
			Body: form.Encode(), WantCode: 200})
		if issued = g.parseTokenResponse(body); g.accessOf(issued) != c.want || issued.Scope != c.want {
			t.Errorf("%s: a form is granted %q, said to be %q, want %q", c.name, g.accessOf(issued), issued.Scope, c.want)
		}
	}
	many := func(n int) string { return tokenPath + "?scope=" + strings.Repeat("repository:b:pull+", n) }
	g.runCasesAs(alice, []exchangeCase{
		{Name: "256 scopes", Method: "GET", URL: many(256), WantCode: 200},
		{Name: "257 scopes", Method: "GET", URL: many(257), WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "10,000 scopes", Method: "POST", URL: tokenPath, Header: header{"Content-Type": "application/x-www-form-urlencoded", "Authorization": ""},
			Body: "grant_type=password&username=x&password=x" + strings.Repeat("&scope=a", 10_000), WantCode: 400, WantError: "UNSUPPORTED"},
	})
}

func TestS2TokenForOther(t *testing.T) {
	g := newGuardedSite(t, Options{})
	d := g.pushImageAs(passwordHeader("alice"), "team/app", "v1")
	blob := sha256Of("{}")
	pull := g.tokenHeader("alice", "repository:team/app:pull")
	for _, c := range []struct{ method, path, scope string }{
		{"POST", uploads, "repository:team/app:pull,push"},
		{"PUT", "/v2/team/app/manifests/v2", "repository:team/app:pull,push"},
		{"PATCH", uploads + "x", "repository:team/app:pull,push"},
		{"DELETE", uploads + "x", "repository:team/app:pull,push"},
		{"DELETE", "/v2/team/app/manifests/" + d, "repository:team/app:delete"},
		{"DELETE", "/v2/team/app/manifests/v1", "repository:team/app:delete"},
		{"DELETE", "/v2/team/app/blobs/" + blob, "repository:team/app:delete"},
		{"GET", "/v2/team/other/tags/list", "repository:team/other:pull"},
		{"GET", "/v2/team/tags/list", "repository:team:pull"},
		{"GET", "/v2/team/app/sub/tags/list", "repository:team/app/sub:pull"},
		{"GET", "/v2/_catalog", "registry:catalog:*"},
	} {
		g.exchange(exchangeCase{Name: "with a token to pull", Method: c.method, URL: c.path, Header: pull, WantCode: 401, WantError: "UNAUTHORIZED",
			WantHeader: header{"Www-Authenticate": g.challenge(c.scope, insufficientScope)}})
	}
	g.runCasesAs(pull, []exchangeCase{{Name: "all is there", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200}})
	catalog := g.tokenHeader("alice", "registry:catalog:*")
	g.runCasesAs(catalog, []exchangeCase{{Name: "with a token for the catalog", Method: "GET", URL: "/v2/team/app/tags/list", WantCode: 401, WantError: "UNAUTHORIZED"}})
}

func TestS3Widening(t *testing.T) {
	g := newGuardedSite(t, Options{})
	secret, _ := g.addToken("user", "alice", "repository:team/**:pull")
	wide := []string{"repository:team/app:pull,push,delete", "repository:alice/a:pull", "registry:catalog:*"}
	for name, h := range map[string]header{"by name": basicHeader("alice", secret), "without": basicHeader("_token", secret)} {
		issued, _ := g.requestToken(h, wide...)
		if got := g.accessOf(issued); got != "repository:team/app:pull" {
			t.Errorf("a personal token to pull %s gives %q", name, got)
		}
		g.runCasesAs(h, []exchangeCase{
			{Name: "directly", Method: "POST", URL: uploads, WantCode: 403, WantError: "DENIED"},
			{Name: "directly, elsewhere", Method: "GET", URL: "/v2/alice/a/tags/list", WantCode: 403, WantError: "DENIED"},
			{Name: "directly, the catalog", Method: "GET", URL: "/v2/_catalog", WantCode: 403, WantError: "DENIED"},
			{Name: "what it is for", Method: "GET", URL: pulled, WantCode: 404, WantError: "NAME_UNKNOWN"},
		})
	}
	// A token with more access than its holder's credential, as after a forgery.
	forged := newForgerOf(g, basicHeader("alice", secret)).token(nil, fields{"access": []fields{{"type": "repository", "name": "team/app", "actions": []string{"pull", "push"}}}}, nil)
	g.runCasesAs(bearerHeader(forged), []exchangeCase{
		{Name: "access beyond the credential", Method: "POST", URL: uploads, WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "access within it", Method: "GET", URL: pulled, WantCode: 404, WantError: "NAME_UNKNOWN"},
	})
	session := g.openLoginSession("acme/app")
	issued, _ := g.requestToken(basicHeader("_token", session), "repository:ci/app:pull,push,delete", "repository:team/app:pull", "repository:oidc/x:push")
	if got := g.accessOf(issued); got != "repository:ci/app:pull,push" {
		t.Errorf("a CI session gives %q", got)
	}
}

// TestP1Paths requests paths that could be taken for a path of another repository, with and without
// a token. They are refused before the caller is authenticated.
func TestP1Paths(t *testing.T) {
	g := newGuardedSite(t, Options{})
	g.pushImageAs(passwordHeader("alice"), "alice/app", "v1")
	bob := g.tokenHeader("bob", "repository:bob/app:pull", "repository:alice/app:pull")
	for _, path := range []string{
		"/v2/bob/%2e%2e/alice/app/manifests/v1", "/v2/bob/..%2falice/app/manifests/v1", "/v2/bob/../alice/app/manifests/v1", "/v2/bob%2f..%2falice/app/manifests/v1",
		"/v2/bob//alice/app/manifests/v1", "/v2/bob/./app/manifests/v1", `/v2/bob\..\alice/app/manifests/v1`, "/v2/bob/app%00/manifests/v1", "/v2/bob/app;x/manifests/v1",
		"/v2/bob/app%3f/manifests/v1", "/v2/Bob/app/manifests/v1", "/v2/bob/app/manifests/v1/", "/v2/bob/app/manifests/..%2f..%2f..%2falice%2fapp%2fmanifests%2fv1",
		"/v2/" + strings.Repeat("a", 256) + "/manifests/v1", "/v2//alice/app/manifests/v1", "//v2/alice/app/manifests/v1", "/v2/alice/app/%6danifests/v1", "/v2/%61lice/app/manifests/v1",
		"/V2/alice/app/manifests/v1", "/v2/alice/app/manifests", "/v2/../v2/alice/app/manifests/v1",
	} {
		for name, h := range map[string]string{"nobody": "", "bob": "Authorization: " + bob["Authorization"] + "\r\n"} {
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				resp, body := g.sendRaw(method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+h+"\r\n", method)
				if resp.StatusCode != 400 && resp.StatusCode != 404 && resp.StatusCode != 405 || resp.Header.Get("Www-Authenticate") != "" || !strings.Contains(body, `{"errors":[`) {
					t.Errorf("%s: %s %s is answered %d %s", name, method, path, resp.StatusCode, body)
				}
			}
		}
	}
}

// TestP2NamesLikePaths has repositories whose names contain keywords of paths. The repository in
// the challenge, in the policy's decision and in storage is the same.
func TestP2NamesLikePaths(t *testing.T) {
	g := newGuardedSite(t, Options{})
	for _, repo := range []string{"alice/manifests", "alice/blobs/uploads", "alice/tags/list", "alice/referrers", "alice/v2", "alice/auth", "alice/v2/auth"} {
		h := g.tokenHeader("alice", "repository:"+repo+":pull,push")
		g.pushImageAs(h, repo, "v1")
		path := "/v2/" + repo + "/manifests/v1"
		g.exchange(exchangeCase{Name: repo, Method: "GET", URL: path, WantCode: 401, WantError: "UNAUTHORIZED",
			WantHeader: header{"Www-Authenticate": g.challenge("repository:"+repo+":pull", "")}})
		g.exchange(exchangeCase{Name: repo, Method: "GET", URL: path, Header: h, WantCode: 200})
		g.exchange(exchangeCase{Name: repo, Method: "GET", URL: path, Header: g.tokenHeader("alice", "repository:alice:pull,push"), WantCode: 401, WantError: "UNAUTHORIZED"})
		g.exchange(exchangeCase{Name: repo, Method: "GET", URL: path, Header: passwordHeader("bob"), WantCode: 403, WantError: "DENIED"})
	}
	for _, path := range []string{"/v2/_catalog/tags/list", "/v2/_catalog/manifests/v1", "/v2/alice/app/manifests/a%2fb", "/v2/alice/app/blobs/uploads/..%2fx"} {
		g.exchange(exchangeCase{Name: "no name", Method: "GET", URL: path, WantCode: 400, WantError: "NAME_INVALID"})
	}
	// The path of the token endpoint is not a repository's.
	g.exchange(exchangeCase{Name: "a repository called auth", Method: "GET", URL: "/v2/auth/tags/list", WantCode: 401, WantError: "UNAUTHORIZED",
		WantHeader: header{"Www-Authenticate": g.challenge("repository:auth:pull", "")}})
}

// TestP3OneParser gives parameters twice, and in the wrong place.
func TestP3OneParser(t *testing.T) {
	g := newGuardedSite(t, Options{})
	d := g.pushBlobAs(passwordHeader("alice"), "alice/base", "secret content")
	bob := g.tokenHeader("bob", "repository:bob/app:pull,push", "repository:bob/base:pull,push")
	g.pushBlobAs(bob, "bob/base", "content of bob")
	const up = "/v2/bob/app/blobs/uploads/"
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	g.runCasesAs(bob, []exchangeCase{
		{Name: "from twice", Method: "POST", URL: up + "?mount=" + d + "&from=bob/base&from=alice/base", WantCode: 400, WantError: "NAME_INVALID"},
		{Name: "from twice, escaped", Method: "POST", URL: up + "?mount=" + d + "&from=bob/base&fr%6fm=alice/base", WantCode: 400, WantError: "NAME_INVALID"},
		{Name: "mount twice", Method: "POST", URL: up + "?mount=" + sha256Of("content of bob") + "&mount=" + d + "&from=bob/base", WantCode: 400, WantError: "DIGEST_INVALID"},
		{Name: "a path", Method: "POST", URL: up + "?mount=" + d + "&from=../alice/base", WantCode: 202},
		{Name: "nothing was mounted", Method: "HEAD", URL: "/v2/bob/app/blobs/" + d, WantCode: 404, WantError: "BLOB_UNKNOWN"},
		{Name: "in a form", Method: "POST", URL: up, Header: form, Body: "mount=" + d + "&from=alice/base", WantCode: 202},
		{Name: "digest in a form", Method: "POST", URL: up, Header: form, Body: "digest=" + d, WantCode: 202, Save: "upload"},
		{Name: "digest twice", Method: "PUT", URL: "{upload}?digest=" + d + "&digest=" + d, WantCode: 400, WantError: "DIGEST_INVALID"},
		{Name: "digest in the form of the end", Method: "PUT", URL: "{upload}", Header: form, Body: "digest=" + d, WantCode: 400, WantError: "DIGEST_INVALID"},
	})
	g.runCasesAs(form, []exchangeCase{
		{Name: "in the query of a form", Method: "POST", URL: tokenPath + "?grant_type=password&username=alice&password=x", WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "two users", Method: "POST", URL: tokenPath, Body: "grant_type=password&username=alice&username=bob&password=x", WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "two grants", Method: "POST", URL: tokenPath, Body: "grant_type=password&grant_type=x&username=alice&password=x", WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "two services", Method: "GET", URL: tokenPath + "?service=" + service + "&service=x", WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "another service", Method: "GET", URL: tokenPath + "?service=other.test", WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "a broken query", Method: "GET", URL: tokenPath + "?scope=a;b", WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "a body of JSON", Method: "POST", URL: tokenPath, Header: header{"Content-Type": "application/json"}, Body: `{"grant_type":"password"}`, WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "a huge body", Method: "POST", URL: tokenPath, Body: "grant_type=password&password=" + strings.Repeat("x", 64<<10), WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "a long URL", Method: "GET", URL: tokenPath + "?x=" + strings.Repeat("x", 32<<10), WantCode: 400, WantError: "UNSUPPORTED"},
	})
}

// comparableAnswer returns the answer without the parts that differ between equal requests.
func (g *guardedSite) comparableAnswer(method, path string, h header, body string) string {
	g.t.Helper()
	resp, text := g.do(method, path, h, body)
	for _, own := range []string{"Date", "X-Request-Id"} {
		resp.Header.Del(own)
	}
	if id := resp.Header.Get("Docker-Upload-Uuid"); id != "" {
		resp.Header.Set("Docker-Upload-Uuid", "id")
		resp.Header.Set("Location", strings.Replace(resp.Header.Get("Location"), id, "id", 1))
	}
	return fmt.Sprintf("%d %v %s", resp.StatusCode, resp.Header, text)
}

func TestB1MountTellsNothing(t *testing.T) {
	g := newGuardedSite(t, Options{})
	hidden := g.pushBlobAs(passwordHeader("alice"), "alice/base", "hidden")
	for name, h := range map[string]header{
		"token":               g.tokenHeader("bob", "repository:bob/app:pull,push", "repository:bob/base:pull", "repository:alice/base:pull"),
		"password":            passwordHeader("bob"),
		"forged wider access": bearerHeader(g.forgedFor("bob", "bob/app", "bob/base", "alice/base")),
	} {
		const up = "/v2/bob/app/blobs/uploads/"
		want := g.comparableAnswer("POST", up+"?mount="+sha256Of("nowhere")+"&from=bob/base", h, "")
		if !strings.HasPrefix(want, "202 ") {
			t.Errorf("%s: a mount of what is not there is answered %s", name, want)
		}
		for what, query := range map[string]string{
			"from where one may not":    "?mount=" + hidden + "&from=alice/base",
			"of nothing from there":     "?mount=" + sha256Of("nowhere") + "&from=alice/base",
			"from where there is none":  "?mount=" + hidden + "&from=alice/none",
			"from anywhere":             "?mount=" + hidden,
			"of nothing, from anywhere": "?mount=" + sha256Of("nowhere"),
			"from a path":               "?mount=" + hidden + "&from=../alice/base",
			"with its digest":           "?mount=" + hidden + "&from=alice/base&digest=" + hidden,
		} {
			if got := g.comparableAnswer("POST", up+query, h, ""); got != want {
				t.Errorf("%s: a mount %s is answered\n%s, one of nothing\n%s", name, what, got, want)
			}
		}
		g.runCasesAs(h, []exchangeCase{{Name: name, Method: "HEAD", URL: "/v2/bob/app/blobs/" + hidden, WantCode: 404, WantError: "BLOB_UNKNOWN"}})
	}
}

// forgedFor returns a token with the registry's signature and with more access than the policy
// gives: its holder must not have that access.
func (g *guardedSite) forgedFor(name string, repos ...string) string {
	g.t.Helper()
	var access []fields
	for _, repo := range repos {
		access = append(access, fields{"type": "repository", "name": repo, "actions": []string{"delete", "pull", "push"}})
	}
	access = append(access, fields{"type": "registry", "name": "catalog", "actions": []string{"*"}})
	return newForgerOf(g, passwordHeader(name)).token(nil, fields{"access": access}, nil)
}

func TestB2UploadIsNotShortCut(t *testing.T) {
	g := newGuardedSite(t, Options{})
	d := g.pushBlobAs(passwordHeader("alice"), "alice/base", "hidden")
	bob := g.tokenHeader("bob", "repository:bob/app:pull,push")
	const up = "/v2/bob/app/blobs/uploads/"
	for range 2 {
		g.runCasesAs(bob, []exchangeCase{
			{Name: "open", Method: "POST", URL: up, WantCode: 202, Save: "upload"},
			{Name: "nothing in the PUT", Method: "PUT", URL: "{upload}?digest=" + d, WantCode: 400, WantError: "DIGEST_INVALID"},
			{Name: "nothing in the POST", Method: "POST", URL: up + "?digest=" + d, WantCode: 202},
			{Name: "other bytes in the POST", Method: "POST", URL: up + "?digest=" + d, Body: "hidde", WantCode: 400, WantError: "DIGEST_INVALID"},
			{Name: "it is not there", Method: "HEAD", URL: "/v2/bob/app/blobs/" + d, WantCode: 404, WantError: "BLOB_UNKNOWN"},
		})
	}
}

func TestB3ManifestLinksNothingElsewhere(t *testing.T) {
	g := newGuardedSite(t, Options{})
	child := g.pushImageAs(passwordHeader("alice"), "alice/base", "v1")
	bob := g.tokenHeader("bob", "repository:bob/app:pull,push")
	g.pushBlobAs(bob, "bob/app", "{}")
	layer := sha256Of("layer of alice/base")
	put := func(name, mediaType, payload string, missing string) exchangeCase {
		return exchangeCase{Name: name, Method: "PUT", URL: "/v2/bob/app/manifests/v1", Header: header{"Content-Type": mediaType}, Body: payload,
			WantCode: 400, WantError: "MANIFEST_BLOB_UNKNOWN", WantDetail: missing}
	}
	size := strconv.Itoa(len(image("{}", "layer of alice/base", "")))
	g.runCasesAs(bob, []exchangeCase{
		put("a layer", imageType, image("{}", "layer of alice/base", ""), layer),
		put("a config", imageType, image("layer of alice/base", "{}", ""), layer),
		put("a child", indexType, `{"schemaVersion":2,"mediaType":"`+indexType+`","manifests":[{"mediaType":"`+imageType+`","digest":"`+child+`","size":`+size+`}]}`, child),
		{Name: "the layer", Method: "GET", URL: "/v2/bob/app/blobs/" + layer, WantCode: 404, WantError: "BLOB_UNKNOWN"},
		{Name: "the child", Method: "GET", URL: "/v2/bob/app/manifests/" + child, WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		// A subject need not exist in the repository, and is not added to it.
		{Name: "a subject", Method: "PUT", URL: "/v2/bob/app/manifests/v1", Header: header{"Content-Type": imageType}, WantCode: 201,
			Body: image("{}", "{}", `,"subject":{"mediaType":"`+imageType+`","digest":"`+child+`","size":`+size+`}`)},
		{Name: "the subject", Method: "GET", URL: "/v2/bob/app/manifests/" + child, WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
	})
	g.runCasesAs(g.tokenHeader("alice", "repository:alice/base:pull"), []exchangeCase{
		{Name: "who refers to it", Method: "GET", URL: "/v2/alice/base/referrers/" + child, WantCode: 200, WantBody: `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`},
	})
}

func TestB4BlobsOfARepository(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := g.tokenHeader("alice", "repository:alice/base:pull,push,delete", "repository:alice/app:pull,push", "repository:team/app:pull,push")
	d := g.pushBlobAs(alice, "alice/base", "hidden")
	blob := func(repo string) string { return "/v2/" + repo + "/blobs/" + d }
	for _, method := range []string{"HEAD", "GET"} {
		g.runCasesAs(alice, []exchangeCase{
			{Name: "where it is", Method: method, URL: blob("alice/base"), WantCode: 200},
			{Name: "where it is not", Method: method, URL: blob("alice/app"), WantCode: 404, WantError: "BLOB_UNKNOWN"},
		})
	}
	// The blob is in the cache now, and the caller may not pull it.
	g.runCasesAs(g.tokenHeader("bob", "repository:alice/base:pull"), []exchangeCase{{Name: "another's", Method: "GET", URL: blob("alice/base"), WantCode: 401, WantError: "UNAUTHORIZED"}})
	g.policy.set(t, "policy:\n  - {name: only app, who: [authenticated], repos: [alice/app], allow: [push]}\n")
	g.runCasesAs(alice, []exchangeCase{
		{Name: "after the right is gone", Method: "GET", URL: blob("alice/base"), WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "mounted after that", Method: "POST", URL: "/v2/alice/app/blobs/uploads/?mount=" + d + "&from=alice/base", WantCode: 202},
		{Name: "mounted from anywhere after that", Method: "POST", URL: "/v2/alice/app/blobs/uploads/?mount=" + d, WantCode: 202},
	})
	g.policy.set(t, usualPolicy)
	g.runCasesAs(alice, []exchangeCase{
		{Name: "remove", Method: "DELETE", URL: blob("alice/base"), WantCode: 202},
		{Name: "removed", Method: "GET", URL: blob("alice/base"), WantCode: 404, WantError: "BLOB_UNKNOWN"},
	})
}

// TestB5NothingTellsWhatIsThere requests content that exists and content that does not, without a
// permission for either.
func TestB5NothingTellsWhatIsThere(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := passwordHeader("alice")
	there, absentDigest := g.pushImageAs(alice, "alice/there", "v1"), sha256Of("nothing")
	blob := sha256Of("{}")
	g.runCasesAs(alice, []exchangeCase{{Name: "open", Method: "POST", URL: "/v2/alice/there/blobs/uploads/", WantCode: 202, Save: "upload"}})
	_, id := g.savedUpload()
	for name, h := range map[string]header{
		"nobody": nil, "a token of anonymous": g.anonymousTokenHeader("repository:alice/there:pull"), "a bad token": bearerHeader("x"),
		"bob": g.tokenHeader("bob", "repository:alice/there:*", "repository:alice/here:*"), "bob's password": passwordHeader("bob"),
		"forged access": bearerHeader(g.forgedFor("bob", "alice/there", "alice/none1")),
	} {
		for _, c := range []struct{ method, path, here, none string }{
			{"GET", "tags/list", "", ""},
			{"GET", "manifests/%s", "v1", "v2"},
			{"HEAD", "manifests/%s", "v1", "v2"},
			{"GET", "manifests/%s", there, absentDigest},
			{"GET", "blobs/%s", blob, absentDigest},
			{"HEAD", "blobs/%s", blob, absentDigest},
			{"GET", "referrers/%s", there, absentDigest},
			{"PUT", "manifests/%s", "v1", "v2"},
			{"DELETE", "manifests/%s", "v1", "v2"},
			{"DELETE", "manifests/%s", there, absentDigest},
			{"DELETE", "blobs/%s", blob, absentDigest},
			{"POST", "blobs/uploads/", "", ""},
			{"GET", "blobs/uploads/%s", id, "0"},
			{"PATCH", "blobs/uploads/%s", id, "0"},
			{"PUT", "blobs/uploads/%s?digest=" + blob, id, "0"},
			{"DELETE", "blobs/uploads/%s", id, "0"},
		} {
			look := func(repo, element string) string {
				path := c.path
				if strings.Contains(path, "%s") {
					path = fmt.Sprintf(path, element)
				}
				return strings.ReplaceAll(g.comparableAnswer(c.method, "/v2/"+repo+"/"+path, h, ""), repo, "REPO")
			}
			want := look("alice/none1", c.none)
			if !strings.HasPrefix(want, "401 ") && !strings.HasPrefix(want, "403 ") {
				t.Errorf("%s: %s %s is answered %s", name, c.method, c.path, want)
			}
			for _, got := range []string{look("alice/there", c.here), look("alice/there", c.none), look("alice/none1", c.here)} {
				if got != want {
					t.Errorf("%s: %s %s is answered\n%s where it is, and\n%s where it is not", name, c.method, c.path, got, want)
				}
			}
		}
	}
}

func TestC1Catalog(t *testing.T) {
	g := newGuardedSite(t, Options{})
	for _, repo := range []string{"alice/a", "alice/z", "bob/m", "bob/y", "public/p", "team/t"} {
		owner := "alice"
		if strings.HasPrefix(repo, "bob/") {
			owner = "bob"
		}
		if strings.HasPrefix(repo, "public/") {
			g.policy.set(t, "policy:\n  - {name: all, who: [authenticated], repos: ['**'], allow: [push]}\n")
		}
		g.pushImageAs(passwordHeader(owner), repo, "v1")
		g.policy.set(t, usualPolicy)
	}
	list := func(names ...string) string {
		b, _ := json.Marshal(map[string][]string{"repositories": append([]string{}, names...)})
		return string(b)
	}
	const u = "/v2/_catalog"
	next := func(last, n string) header {
		return header{"Link": "<" + u + "?last=" + url.QueryEscape(last) + "&n=" + n + `>; rel="next"`}
	}
	last := header{"Link": absent}
	for _, h := range []header{g.tokenHeader("bob", "registry:catalog:*"), passwordHeader("bob")} {
		g.runCasesAs(h, []exchangeCase{
			{Name: "all", Method: "GET", URL: u, WantCode: 200, WantBody: list("bob/m", "bob/y", "public/p"), WantHeader: last},
			{Name: "one", Method: "GET", URL: u + "?n=1", WantCode: 200, WantBody: list("bob/m"), WantHeader: next("bob/m", "1")},
			{Name: "two", Method: "GET", URL: u + "?n=2", WantCode: 200, WantBody: list("bob/m", "bob/y"), WantHeader: next("bob/y", "2")},
			{Name: "exactly all", Method: "GET", URL: u + "?n=3", WantCode: 200, WantBody: list("bob/m", "bob/y", "public/p"), WantHeader: last},
			{Name: "after a hidden one", Method: "GET", URL: u + "?last=alice/z", WantCode: 200, WantBody: list("bob/m", "bob/y", "public/p"), WantHeader: last},
			{Name: "after one that is not there", Method: "GET", URL: u + "?last=alice/y", WantCode: 200, WantBody: list("bob/m", "bob/y", "public/p"), WantHeader: last},
			{Name: "after the last visible", Method: "GET", URL: u + "?last=public/p", WantCode: 200, WantBody: list(), WantHeader: last},
			{Name: "none", Method: "GET", URL: u + "?n=0", WantCode: 200, WantBody: list(), WantHeader: last},
			{Name: "negative", Method: "GET", URL: u + "?n=-1", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
			{Name: "far too many", Method: "GET", URL: u + "?n=1000000000", WantCode: 200, WantBody: list("bob/m", "bob/y", "public/p"), WantHeader: last},
		})
	}
	g.runCasesAs(g.anonymousTokenHeader("registry:catalog:*"), []exchangeCase{
		{Name: "anonymous", Method: "GET", URL: u, WantCode: 200, WantBody: list("public/p"), WantHeader: last},
		{Name: "anonymous, one", Method: "GET", URL: u + "?n=1", WantCode: 200, WantBody: list("public/p"), WantHeader: last},
	})
	robot, _ := g.addToken("robot", "deployer", "repository:prod/**:pull")
	g.runCasesAs(basicHeader("robot+deployer", robot), []exchangeCase{{Name: "outside the scope", Method: "GET", URL: u, WantCode: 403, WantError: "DENIED"}})
}

func TestC2Referrers(t *testing.T) {
	g := newGuardedSite(t, Options{})
	subject := g.pushImageAs(passwordHeader("alice"), "alice/app", "v1")
	refer := func(owner, repo string) {
		g.pushBlobAs(passwordHeader(owner), repo, "{}")
		g.exchange(exchangeCase{Name: "refer", Method: "PUT", URL: "/v2/" + repo + "/manifests/referrer", Header: passwordHeader(owner).with(header{"Content-Type": imageType}), WantCode: 201,
			Body: image("{}", "{}", `,"artifactType":"application/x.`+owner+`","subject":{"mediaType":"`+imageType+`","digest":"`+subject+`","size":1}`)})
	}
	refer("bob", "bob/app")
	g.pushBlobAs(passwordHeader("alice"), "alice/app", "{}")
	bob := g.tokenHeader("bob", "repository:bob/app:pull", "repository:alice/app:pull")
	alice := g.tokenHeader("alice", "repository:alice/app:pull")
	const nothing = `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`
	path := "/referrers/" + subject
	g.runCasesAs(alice, []exchangeCase{
		{Name: "those of others", Method: "GET", URL: "/v2/alice/app" + path, WantCode: 200, WantBody: nothing},
		{Name: "those of others, filtered", Method: "GET", URL: "/v2/alice/app" + path + "?artifactType=application/x.bob", WantCode: 200, WantBody: nothing},
	})
	g.runCasesAs(bob, []exchangeCase{
		{Name: "another's", Method: "GET", URL: "/v2/alice/app" + path, WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "another's, filtered", Method: "GET", URL: "/v2/alice/app" + path + "?artifactType=x", WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "one's own, of another kind", Method: "GET", URL: "/v2/bob/app" + path + "?artifactType=x", WantCode: 200, WantBody: nothing},
	})
	if _, body := g.do("GET", "/v2/bob/app"+path, bob, ""); !strings.Contains(body, "application/x.bob") {
		t.Errorf("one's own referrers are %s", body)
	}
}

func TestU1SessionsOfOthers(t *testing.T) {
	g := newGuardedSite(t, Options{})
	g.policy.set(t, "policy:\n  - {name: all, who: [authenticated], repos: ['shared/**', other], allow: [push]}\n")
	alice := g.tokenHeader("alice", "repository:shared/app:push", "repository:other:push")
	g.runCasesAs(alice, []exchangeCase{
		{Name: "open", Method: "POST", URL: "/v2/shared/app/blobs/uploads/", WantCode: 202, Save: "upload"},
		{Name: "a chunk", Method: "PATCH", URL: "{upload}", Body: "01234", WantCode: 202},
	})
	at, id := g.savedUpload()
	d := sha256Of("0123456789")
	refused := func(name string, h header, at string) {
		t.Helper()
		for _, c := range []struct{ method, query, body string }{
			{"GET", "", ""}, {"PATCH", "", "56789"}, {"PATCH", "", ""}, {"PUT", "?digest=" + d, "56789"}, {"PUT", "?digest=" + d, ""}, {"DELETE", "", ""},
		} {
			g.exchange(exchangeCase{Name: name, Method: c.method, URL: at + c.query, Header: h, Body: c.body, WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN",
				WantHeader: header{"Range": absent, "Location": absent}})
		}
	}
	refused("under another repository", alice, "/v2/other/blobs/uploads/"+id)
	refused("of another user", g.tokenHeader("bob", "repository:shared/app:push"), at)
	refused("of another user, with a password", passwordHeader("bob"), at)
	guess := []byte(id)
	guess[len(guess)-1] ^= 1
	refused("guessed", alice, "/v2/shared/app/blobs/uploads/"+string(guess))
	g.runCasesAs(alice, []exchangeCase{
		{Name: "an older offset again", Method: "PATCH", URL: "{upload}", Header: contentRange("0-4"), Body: "01234", WantCode: 416, WantError: "RANGE_INVALID", WantHeader: header{"Range": "0-4"}},
		{Name: "a state of its own", Method: "PATCH", URL: "{upload}?_state=x", Header: contentRange("5-9"), Body: "56789", WantCode: 202},
		{Name: "its end", Method: "PUT", URL: "{upload}?digest=" + d, WantCode: 201},
	})
	refused("finished, of another user", passwordHeader("bob"), at)
	g.runCasesAs(passwordHeader("alice"), []exchangeCase{{Name: "its end again, with a password", Method: "PUT", URL: at + "?digest=" + d, WantCode: 201}})
}

func TestU2Grace(t *testing.T) {
	g := newGuardedSite(t, Options{})
	scope := "repository:team/app:pull,push"
	g.addUser("dave", "team")
	alice, dave := g.tokenHeader("alice", scope), g.tokenHeader("dave", scope)
	g.runCasesAs(alice, []exchangeCase{{Name: "open", Method: "POST", URL: uploads, WantCode: 202, Save: "upload"}})
	at, _ := g.savedUpload()
	see := func(when string, h header, want int) {
		t.Helper()
		resp, _ := g.do("GET", at, h, "")
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", when, resp.StatusCode, want)
		}
	}
	g.clock.advance(lifetime + 2*time.Minute)
	see("within the grace", alice, 204)
	see("another's session", dave, 404)
	g.exchange(exchangeCase{Name: "and the next thing", Method: "POST", URL: uploads, Header: alice, WantCode: 401, WantError: "UNAUTHORIZED"})
	g.policy.set(t, strings.Replace(usualPolicy, "group:team", "group:other", 1))
	see("without the rule", alice, 401)
	g.policy.set(t, usualPolicy)
	see("with it again", alice, 204)
	g.tx(func(tx *rows.Tx) error { return tx.SetDisabled(g.accounts["user alice"], true) })
	see("disabled", alice, 401)
	g.tx(func(tx *rows.Tx) error { return tx.SetDisabled(g.accounts["user alice"], false) })
	g.clock.advance(grace - 3*time.Minute)
	see("at the end of the grace", alice, 204)
	g.clock.advance(2 * time.Minute)
	see("after the grace", alice, 401)
	see("with a fresh token", g.tokenHeader("alice", scope), 204)
	fresh := g.tokenHeader("alice", scope)
	g.tx(func(tx *rows.Tx) error { return tx.DeleteAccount(g.accounts["user alice"]) })
	see("removed", fresh, 401)
	g.addUser("alice", "team")
	see("somebody else of that name", g.tokenHeader("alice", scope), 404)
}

// TestH1Hosts sends hosts, schemes and addresses other than the real ones.
func TestH1Hosts(t *testing.T) {
	forwarded := header{"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "1", "Forwarded": "for=192.0.2.7;host=evil.example;proto=https"}
	realm := func(base string) header {
		return header{"Www-Authenticate": `Bearer realm="` + base + `/v2/auth",service="` + service + `"`, "Cache-Control": "no-store", "Location": absent}
	}
	ping := func(name string, h header, base string) exchangeCase {
		return exchangeCase{Name: name, Method: "GET", URL: "/v2/", Header: h, WantCode: 401, WantError: "UNAUTHORIZED", WantHeader: realm(base)}
	}
	plain := newGuardedSite(t, Options{})
	plain.runCases([]exchangeCase{
		ping("as it is", nil, "http://"+plain.addr),
		ping("forwarded by nobody we trust", forwarded, "http://"+plain.addr),
		ping("by another name", header{"Host": "registry.lan:5000"}, "http://registry.lan:5000"),
	})
	known := newGuardedSite(t, Options{ExternalURLs: []string{"https://r.example/", "http://10.0.0.1:5000"}})
	known.runCases([]exchangeCase{
		ping("another host", header{"Host": "evil.example"}, "https://r.example"),
		ping("the first", header{"Host": "R.example"}, "https://r.example"),
		ping("the second", header{"Host": "10.0.0.1:5000"}, "http://10.0.0.1:5000"),
		ping("the second without its port", header{"Host": "10.0.0.1"}, "https://r.example"),
		ping("forwarded by nobody we trust", forwarded, "https://r.example"),
	})
	trusting := newGuardedSite(t, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}, HSTS: time.Hour})
	trusting.runCases([]exchangeCase{
		ping("forwarded", forwarded, "https://evil.example"), // by a trusted proxy
		ping("not over TLS", header{"X-Forwarded-Proto": "ftp"}, "http://"+trusting.addr),
		ping("the nearest one counts", header{"X-Forwarded-Proto": "http, https", "X-Forwarded-Host": "a.example, r.example"}, "https://r.example"),
	})
	// The host of an absolute request line counts, but not if it would end the quoted realm.
	for line, want := range map[string]string{
		"GET http://evil.example/v2/ HTTP/1.1\r\nHost: " + plain.addr:    `realm="http://evil.example/v2/auth"`,
		"GET http://evil\"x/v2/ HTTP/1.1\r\nHost: " + plain.addr:         "",
		"GET http://evil\",x=\"y/v2/ HTTP/1.1\r\nHost: " + plain.addr:    "",
		"GET http://user@evil/v2/ HTTP/1.1\r\nHost: " + plain.addr:       `realm="http://evil/v2/auth"`,
		"GET /v2/ HTTP/1.1\r\nHost: evil\"x":                             "",
		"GET /v2/ HTTP/1.1\r\nHost: a'b":                                 "",
		"GET /v2/ HTTP/1.0\r\nX: y":                                      "",
		"GET /v2/ HTTP/1.1\r\nHost: a.example\r\nHost: b.example":        "",
		"GET http://evil.example:99/v2/ HTTP/1.1\r\nHost: " + plain.addr: `realm="http://evil.example:99/v2/auth"`,
	} {
		resp, _ := plain.sendRaw(line+"\r\nConnection: close\r\n\r\n", "GET")
		got := resp.Header.Get("Www-Authenticate")
		if want == "" && (resp.StatusCode != 400 || got != "") || want != "" && (!strings.Contains(got, want) || resp.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%q is answered %d with the challenge %q", line, resp.StatusCode, got)
		}
	}
	// Locations stay relative. The audit and the limit of login attempts use the peer's address.
	plain.runCasesAs(passwordHeader("alice").with(forwarded), []exchangeCase{{Name: "open", Method: "POST", URL: uploads, WantCode: 202, Save: "upload"}})
	if at, _ := plain.savedUpload(); !strings.HasPrefix(at, "/v2/") {
		t.Errorf("a session is at %q", at)
	}
	limit := func(g *guardedSite) (attempts int, resp *http.Response) {
		for attempts = 1; ; attempts++ {
			h := basicHeader("alice", g.keepSecret("guess "+strconv.Itoa(attempts), "guess")).with(header{"X-Forwarded-For": fmt.Sprintf("198.51.100.%d", attempts)})
			if resp, _ = g.do("GET", tokenPath, h, ""); resp.StatusCode != 401 || attempts > 40 {
				return attempts, resp
			}
		}
	}
	if n, resp := limit(plain); resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("attempt %d from one address that claims to be many is answered %d", n, resp.StatusCode)
	}
	if n, resp := limit(trusting); resp.StatusCode != 401 {
		t.Errorf("attempt %d, each from another address behind a proxy, is answered %d", n, resp.StatusCode)
	}
	for g, want := range map[*guardedSite]string{plain: `"from":"127.0.0.1"`, trusting: `"from":"198.51.100.1"`} {
		if !strings.Contains(g.audit.String(), want) {
			t.Errorf("the audit lacks %s", want)
		}
	}
	if strings.Contains(plain.audit.String(), "198.51.100") || strings.Contains(plain.log.String(), "198.51.100") {
		t.Error("an address that anybody can claim is in the log")
	}
}

// TestOrigin checks that X-Forwarded-For is read from the right.
func TestOrigin(t *testing.T) {
	a := New(nil, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}})
	for _, c := range []struct{ peer, forwarded, want string }{
		{"10.0.0.1:1", "", "10.0.0.1"},
		{"10.0.0.1:1", "203.0.113.5", "203.0.113.5"},
		{"10.0.0.1:1", "198.51.100.9, 203.0.113.5", "203.0.113.5"},
		{"10.0.0.1:1", "203.0.113.5, 10.1.1.1", "203.0.113.5"},
		{"10.0.0.1:1", "198.51.100.9,203.0.113.5,10.1.1.1 ,10.2.2.2", "203.0.113.5"},
		{"10.0.0.1:1", "203.0.113.5, nobody", "invalid IP"},
		{"10.0.0.1:1", "nobody, 10.1.1.1", "invalid IP"},
		{"10.0.0.1:1", "203.0.113.5:4711", "203.0.113.5"},
		{"10.0.0.1:1", "[2001:db9::1]:4711", "2001:db9::1"},
		{"10.0.0.1:1", "[2001:db9::1]", "2001:db9::1"},
		{"10.0.0.1:1", "::ffff:203.0.113.5", "203.0.113.5"},
		{"[::ffff:10.0.0.1]:1", "203.0.113.5", "203.0.113.5"},
		{"[2001:db8::1]:1", "203.0.113.5", "203.0.113.5"},
		{"203.0.113.1:1", "10.0.0.1", "203.0.113.1"},
		{"@", "203.0.113.5", "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": {c.forwarded}}}
		if got := a.web.OriginOf(r).Addr.String(); got != c.want {
			t.Errorf("%s, forwarded for %q, is %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}

// TestN1Kinds has a user and a robot of the same name, and names that look like other kinds.
func TestN1Kinds(t *testing.T) {
	g := newGuardedSite(t, Options{})
	g.addUser("deployer")
	robot, _ := g.addToken("robot", "deployer", "repository:**:pull,push,delete")
	g.runCasesAs(basicHeader("robot+deployer", robot), []exchangeCase{
		{Name: "the robot", Method: "GET", URL: "/v2/prod/app/tags/list", WantCode: 404, WantError: "NAME_UNKNOWN"},
	})
	g.runCasesAs(passwordHeader("deployer"), []exchangeCase{
		{Name: "the user", Method: "GET", URL: "/v2/prod/app/tags/list", WantCode: 403, WantError: "DENIED"},
		{Name: "the user's own", Method: "POST", URL: "/v2/deployer/app/blobs/uploads/", WantCode: 202, Save: "upload"},
	})
	g.policy.set(t, "policy:\n  - {name: all, who: [authenticated], repos: ['**'], allow: [push]}\n")
	g.runCasesAs(basicHeader("robot+deployer", robot), []exchangeCase{{Name: "the user's session", Method: "GET", URL: "{upload}", WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"}})
	g.runCasesAs(passwordHeader("deployer"), []exchangeCase{{Name: "one's own session", Method: "GET", URL: "{upload}", WantCode: 204}})
	for _, name := range []string{"robot+deployer", "_token", "oidc", "anonymous", "user:alice", "scanner-x", ""} {
		g.exchange(exchangeCase{Name: "as " + name, Method: "GET", URL: "/v2/", Header: basicHeader(name, passwordOf("deployer")), WantCode: 401, WantError: "UNAUTHORIZED"})
	}
}

// TestN2NamesGivenAgain deletes a user and creates another of the same name, who must not get the
// tokens and upload sessions of the first one.
func TestN2NamesGivenAgain(t *testing.T) {
	g := newGuardedSite(t, Options{})
	old := g.tokenHeader("alice", "repository:alice/app:pull,push")
	personal, _ := g.addToken("user", "alice", "repository:**:pull,push")
	g.runCasesAs(old, []exchangeCase{{Name: "open", Method: "POST", URL: "/v2/alice/app/blobs/uploads/", WantCode: 202, Save: "upload"}})
	alice := g.accounts["user alice"]
	g.tx(func(tx *rows.Tx) error { return tx.DeleteAccount(alice) })
	if g.addUser("alice", "team") == alice {
		t.Error("two users have one number")
	}
	for name, h := range map[string]header{"token": old, "personal token": basicHeader("alice", personal)} {
		g.runCasesAs(h, []exchangeCase{
			{Name: name, Method: "GET", URL: "/v2/alice/app/tags/list", WantCode: 401, WantError: "UNAUTHORIZED"},
			{Name: name, Method: "PATCH", URL: "{upload}", Body: "x", WantCode: 401, WantError: "UNAUTHORIZED"},
		})
	}
	g.runCasesAs(g.tokenHeader("alice", "repository:alice/app:pull,push"), []exchangeCase{
		{Name: "the new one", Method: "GET", URL: "/v2/alice/app/tags/list", WantCode: 404, WantError: "NAME_UNKNOWN"},
		{Name: "the old one's session", Method: "PATCH", URL: "{upload}", Body: "x", WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"},
	})
}

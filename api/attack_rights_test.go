package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
)

// crossSiteHeaders are the fields that browsers send for web pages of other origins.
var crossSiteHeaders = map[string]header{
	"another site":             {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
	"another port":             {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
	"an old browser":           {"Origin": "https://evil.example"},
	"a file or a sandbox":      {"Origin": "null"},
	"no origin, another site":  {"Sec-Fetch-Site": "cross-site"},
	"a name that begins alike": {"Origin": "https://registry.example.evil.example"},
}

// TestR2CrossSiteWrites has web pages post to an open registry on loopback, and to one with users
// whose browser sends a password.
func TestR2CrossSiteWrites(t *testing.T) {
	open := newSite(t, Options{CheckHost: true, ExternalURLs: []string{"https://registry.example"}})
	guarded := newGuardedSite(t, Options{ExternalURLs: []string{"https://registry.example"}})
	d := open.pushBlob("team/base", "content")
	guarded.pushBlobAs(passwordHeader("alice"), "team/base", "content")
	for name, s := range map[string]*site{"open": open, "with users": guarded.site} {
		as := header{}
		if s == guarded.site {
			as = passwordHeader("alice")
		}
		writes := []exchangeCase{
			{Method: "POST", URL: uploads + "?digest=" + sha256Of("x"), Body: "x", WantCode: 201},
			{Method: "POST", URL: uploads, WantCode: 202, Save: "upload"},
			{Method: "POST", URL: uploads + "?mount=" + d + "&from=team/base", WantCode: 201},
			{Method: "PATCH", URL: "{upload}", Body: "x", WantCode: 202},
			{Method: "PUT", URL: "{upload}?digest=" + sha256Of("x"), WantCode: 201},
			{Method: "PUT", URL: "/v2/team/app/manifests/v1", Body: "{}", WantCode: 400, WantError: "MANIFEST_INVALID"},
			{Method: "DELETE", URL: "/v2/team/app/manifests/v1", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		}
		for page, fields := range crossSiteHeaders {
			for _, c := range writes {
				c.Name, c.Header = name+", "+page, as.with(fields).with(header{"Content-Type": "text/plain"})
				c.WantCode, c.WantError, c.Save = 403, "DENIED", ""
				s.exchange(c)
			}
			s.exchange(exchangeCase{Name: name + ", " + page, Method: "GET", URL: "/v2/team/base/blobs/" + d, Header: as.with(fields), WantCode: 200})
			s.exchange(exchangeCase{Name: name + ", " + page + ", no route", Method: "POST", URL: "/nowhere", Header: fields, WantCode: 403, WantError: "DENIED"})
		}
		for page, fields := range map[string]header{
			"no browser":         {},
			"the registry's own": {"Origin": "https://registry.example", "Sec-Fetch-Site": "cross-site"},
			"typed in":           {"Sec-Fetch-Site": "none"},
			"of the same origin": {"Origin": "http://" + s.addr, "Sec-Fetch-Site": "same-origin"},
			"old, of the same":   {"Origin": "http://" + s.addr},
		} {
			for _, c := range writes {
				c.Name, c.Header = name+", "+page, as.with(fields)
				s.exchange(c)
			}
		}
	}
	form := header{"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://evil.example"}
	guarded.exchange(exchangeCase{Name: "a token", Method: http.MethodPost, URL: tokenPath, Header: form,
		Body: "grant_type=password&username=alice&password=x", WantCode: 403, WantError: "DENIED"})
}

// TestR3MountOutsideTheToken mounts without a source. The token has access to fewer repositories
// than its holder.
func TestR3MountOutsideTheToken(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := passwordHeader("alice")
	d := g.pushBlobAs(alice, "team/lib", "library")
	own := g.pushBlobAs(alice, "alice/app", "its own")
	const up = "/v2/alice/app/blobs/uploads/?mount="
	narrow := g.tokenHeader("alice", "repository:alice/app:pull,push")
	mount := func(name string, h header, d string, code int) {
		t.Helper()
		g.exchange(exchangeCase{Name: name, Method: "POST", URL: up + d, Header: h, WantCode: code})
	}
	mount("a token of the target alone", narrow, d, 202)
	g.exchange(exchangeCase{Name: "nothing was mounted", Method: "HEAD", URL: "/v2/alice/app/blobs/" + d, Header: alice, WantCode: 404, WantError: "BLOB_UNKNOWN"})
	mount("a token of the target, what the target has", narrow, own, 201)
	mount("a token that may delete there", g.tokenHeader("alice", "repository:alice/app:pull,push", "repository:team/lib:delete"), d, 202)
	mount("a token of the target and others", g.tokenHeader("alice", "repository:alice/app:pull,push", "repository:team/other:pull"), d, 202)
	mount("a token forged wider than the policy", bearerHeader(g.forgedFor("bob", "alice/app", "team/lib")), d, 401)
	g.exchange(exchangeCase{Name: "nothing was mounted", Method: "HEAD", URL: "/v2/alice/app/blobs/" + d, Header: alice, WantCode: 404, WantError: "BLOB_UNKNOWN"})
	mount("a token of both", g.tokenHeader("alice", "repository:alice/app:pull,push", "repository:team/lib:pull"), d, 201)
	other := g.pushBlobAs(alice, "team/lib", "another")
	mount("a token to push to both", g.tokenHeader("alice", "repository:alice/app:push", "repository:team/lib:push"), other, 201)
	third := g.pushBlobAs(alice, "team/lib", "a third")
	mount("a password", alice, third, 201)

	open := newSite(t, Options{})
	e := open.pushBlob("team/lib", "library")
	open.exchange(exchangeCase{Name: "an open registry", Method: "POST", URL: up + e, WantCode: 201})
}

// countedPolicy counts its decisions.
type countedPolicy struct {
	auth.Policy
	asked atomic.Int64
}

func (p *countedPolicy) Decide(id auth.Identity, from netip.Addr, perm auth.Permission, repo string) auth.Decision {
	p.asked.Add(1)
	return p.Policy.Decide(id, from, perm, repo)
}

// TestR4MountSearchesLittle mounts blobs that are in many or few repositories from which the caller
// may not pull. The policy decides for few of them, and never in a transaction of storage.
func TestR4MountSearchesLittle(t *testing.T) {
	registry := newRegistry(t, "mem://", storage.Options{})
	g := serveGuarded(t, registry, Options{})
	alice, bob := passwordHeader("alice"), passwordHeader("bob")
	counted := &countedPolicy{Policy: g.policy}
	g.API.policy = counted
	d := g.pushBlobAs(alice, "alice/base", "hidden")
	for i := range 3 * maxMountSources {
		if _, err := registry.Mount(t.Context(), "", fmt.Sprintf("alice/r%d", i), digest.Digest(d), "alice/base"); err != nil {
			t.Fatal(err)
		}
	}
	asked := func(h header, d string) int64 {
		before := counted.asked.Load()
		g.exchange(exchangeCase{Name: "mount", Method: "POST", URL: "/v2/bob/app/blobs/uploads/?mount=" + d, Header: h, WantCode: 202})
		return counted.asked.Load() - before
	}
	if n := asked(bob, d); n > maxMountSources+1 {
		t.Errorf("with a password, the policy was asked %d times", n)
	}
	token := g.tokenHeader("bob", "repository:bob/app:pull,push")
	if here, nowhere := asked(token, d), asked(token, sha256Of("nowhere")); here != nowhere {
		t.Errorf("with a token, the policy was asked %d times for a blob that is elsewhere and %d for one that is not", here, nowhere)
	}
}

// TestR5DeleteWithoutPull has a caller delete who may not pull. The errors disclose neither the
// digest of a tag nor the manifests that refer to a blob.
func TestR5DeleteWithoutPull(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := passwordHeader("alice")
	d := g.pushImageAs(alice, "team/app", "v1")
	blob := sha256Of("{}")
	list := `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[{"mediaType":"` + imageType + `","digest":"` + d + `","size":` + fmt.Sprint(len(image("{}", "layer of team/app", ""))) + `}]}`
	g.exchange(exchangeCase{Name: "index", Method: "PUT", URL: "/v2/team/app/manifests/list", Header: alice.with(header{"Content-Type": indexType}), Body: list, WantCode: 201})
	g.policy.set(t, usualPolicy+`
  - {name: janitor, who: ["user:bob"], repos: ["team/**"], allow: [delete]}
`)
	wide := g.tokenHeader("alice", "repository:team/app:pull,push,delete")
	for _, c := range []struct {
		name, path, match string
		code              int
	}{
		{"a blob that a manifest names", "/v2/team/app/blobs/" + blob, "", 403},
		{"a manifest that an index lists", "/v2/team/app/manifests/" + d, "", 403},
		{"a tag on a condition", "/v2/team/app/manifests/v1", "x", 412},
		{"a tag that is not there, on a condition", "/v2/team/app/manifests/nope", "x", 412},
	} {
		h := header{}
		if c.match != "" {
			h["If-Match"] = c.match
		}
		_, told := g.exchange(exchangeCase{Name: c.name, Method: "DELETE", URL: c.path, Header: wide.with(h), WantCode: c.code, WantError: "DENIED"})
		if c.name != "a tag that is not there, on a condition" && !strings.Contains(told, "sha256:") {
			t.Errorf("%s: who may pull is told %s", c.name, told)
		}
		for name, without := range map[string]header{
			"a password":  passwordHeader("bob"),
			"a token":     g.tokenHeader("bob", "repository:team/app:delete"),
			"less access": g.tokenHeader("alice", "repository:team/app:delete"),
		} {
			_, told := g.exchange(exchangeCase{Name: c.name, Method: "DELETE", URL: c.path, Header: without.with(h), WantCode: c.code, WantError: "DENIED"})
			if strings.Contains(told, "sha256:") || strings.Contains(told, "exist") {
				t.Errorf("%s, %s: who may not pull is told %s", c.name, name, told)
			}
		}
	}
}

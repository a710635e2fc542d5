package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/api/web"
)

const uiOrigin = "https://ui.example"

var (
	fromUI = header{"Origin": uiOrigin, "Sec-Fetch-Site": "cross-site"}
	// sharedWithUI are the fields of every answer to a page of uiOrigin.
	sharedWithUI = header{
		"Access-Control-Allow-Origin": uiOrigin,
		"Access-Control-Expose-Headers": "Docker-Content-Digest, Content-Range, ETag, Link, Location, OCI-Filters-Applied, OCI-Subject, OCI-Tag, " +
			"Range, Retry-After, Warning, WWW-Authenticate",
		"Access-Control-Allow-Credentials": absent,
		"Vary":                             "Origin",
	}
	// notShared are the fields of an answer to a page that is not let in.
	notShared = header{
		"Access-Control-Allow-Origin": absent, "Access-Control-Expose-Headers": absent, "Access-Control-Allow-Credentials": absent,
		"Access-Control-Allow-Methods": absent, "Access-Control-Allow-Headers": absent, "Access-Control-Max-Age": absent,
	}
	notSharedVaries = notShared.with(header{"Vary": "Origin"})
	variesByUser    = header{"Vary": "Origin\nAuthorization"} // of reads in a registry with users
)

// preflight returns the case of a page that asks whether it may send a method.
func preflight(url, method string, page header) exchangeCase {
	return exchangeCase{
		Name: "preflight of " + page["Origin"], Method: "OPTIONS", URL: url,
		Header: page.with(header{"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}),
	}
}

// TestCORSPreflight: each endpoint below /v2 tells its methods before authentication.
func TestCORSPreflight(t *testing.T) {
	g := newGuardedSite(t, Options{CORS: web.CORS{Origins: []string{"https://other.example", uiOrigin}}})
	for url, methods := range map[string]string{
		"/v2":                                           "GET, HEAD",
		"/v2/":                                          "GET, HEAD",
		"/v2/_catalog?n=10":                             "GET, HEAD",
		"/v2/team/app/tags/list":                        "GET, HEAD",
		"/v2/team/app/manifests/v1":                     "DELETE, GET, HEAD, PUT",
		"/v2/team/app/blobs/" + sha256Of("x"):           "DELETE, GET, HEAD",
		"/v2/team/app/blobs/uploads/":                   "POST",
		"/v2/team/app/blobs/uploads/1":                  "DELETE, GET, PATCH, PUT",
		"/v2/team/app/referrers/" + sha256Of("x"):       "GET, HEAD",
		"/v2/auth?service=registry.test&scope=anything": "GET, POST",
	} {
		c := preflight(url, "DELETE", fromUI)
		c.WantCode, c.WantHeader = 204, sharedWithUI.with(header{
			"Access-Control-Allow-Methods": methods,
			"Access-Control-Allow-Headers": "Authorization, Accept, Content-Type, Cache-Control, Range, If-Match, If-None-Match",
			"Access-Control-Max-Age":       "3600", "Www-Authenticate": absent, "Content-Type": absent,
		})
		g.exchange(c)
	}
	unknown := preflight("/v2/nowhere", "GET", fromUI)
	unknown.WantCode, unknown.WantError, unknown.WantHeader = 404, "NAME_UNKNOWN", sharedWithUI
	g.exchange(unknown)
	for _, path := range []string{"/livez", jwksPath} {
		c := preflight(path, "GET", fromUI)
		c.Name, c.WantCode, c.WantError, c.WantHeader = "not the protocol", 405, "UNSUPPORTED", notSharedVaries
		g.exchange(c)
	}
}

// TestCORSNoPreflight: an OPTIONS that is no preflight, or where no page is let in, is 405.
func TestCORSNoPreflight(t *testing.T) {
	shares, off := newSite(t, Options{CORS: web.CORS{Origins: []string{uiOrigin}}}), newSite(t, Options{})
	asks := header{"Access-Control-Request-Method": "GET"}
	for _, c := range []struct {
		name string
		site *site
		header
		want header
	}{
		{"no method asked for", shares, fromUI, sharedWithUI},
		{"no origin", shares, asks, notSharedVaries},
		{"off", off, fromUI.with(asks), notShared.with(header{"Vary": absent})},
	} {
		c.site.exchange(exchangeCase{Name: c.name, Method: "OPTIONS", URL: "/v2/_catalog", Header: c.header,
			WantCode: 405, WantError: "UNSUPPORTED", WantHeader: c.want.with(header{"Allow": "GET, HEAD"})})
	}
}

// TestCORSAnswers: a page that is let in can read every answer, those to errors too, and write.
func TestCORSAnswers(t *testing.T) {
	g := newGuardedSite(t, Options{CORS: web.CORS{Origins: []string{uiOrigin}}})
	alice := fromUI.with(passwordHeader("alice"))
	d := g.pushImageAs(passwordHeader("alice"), "alice/app", "v1")
	for _, c := range []exchangeCase{
		{Name: "no credentials", Method: "GET", URL: "/v2/_catalog", Header: fromUI, WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "wrong credentials for a token", Method: "GET", URL: tokenPath, Header: fromUI.with(basicHeader("alice", "x")), WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "a token", Method: "GET", URL: tokenPath, Header: alice, WantCode: 200},
		{Name: "denied", Method: "GET", URL: "/v2/bob/app/tags/list", Header: alice, WantCode: 403, WantError: "DENIED"},
		{Name: "not there", Method: "GET", URL: "/v2/alice/app/manifests/v2", Header: alice, WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Name: "no endpoint", Method: "GET", URL: "/v2/nowhere", Header: alice, WantCode: 404, WantError: "NAME_UNKNOWN"},
		{Name: "a bad name", Method: "GET", URL: "/v2/BAD/tags/list", Header: alice, WantCode: 400, WantError: "NAME_INVALID"},
		{Name: "a long path", Method: "GET", URL: "/v2/" + strings.Repeat("a", 1024), Header: alice, WantCode: 414, WantError: "NAME_INVALID"},
		{Name: "catalog", Method: "GET", URL: "/v2/_catalog", Header: alice, WantCode: 200},
		{Name: "tags", Method: "HEAD", URL: "/v2/alice/app/tags/list", Header: alice, WantCode: 200},
		{Name: "not modified", Method: "GET", URL: "/v2/alice/app/manifests/v1", Header: alice.with(header{"If-None-Match": `"` + d + `"`}), WantCode: 304},
		{Name: "delete", Method: "DELETE", URL: "/v2/alice/app/manifests/" + d, Header: alice, WantCode: 202},
	} {
		c.WantHeader = sharedWithUI
		if c.Method != "DELETE" { // of which no cache keeps an answer
			c.WantHeader = c.WantHeader.with(variesByUser)
		}
		g.exchange(c)
	}
	g.exchange(exchangeCase{Name: "no page", Method: "GET", URL: "/v2/", WantCode: 401, WantError: "UNAUTHORIZED", WantHeader: notSharedVaries.with(variesByUser)})
	g.exchange(exchangeCase{Name: "not the protocol", Method: "GET", URL: "/livez", Header: fromUI, WantCode: 200, WantHeader: notSharedVaries})

	open := newSite(t, Options{CheckHost: true, CORS: web.CORS{Origins: []string{uiOrigin}}})
	rebound := fromUI.with(header{"Host": "evil.example"})
	open.exchange(exchangeCase{Name: "rebound", Method: "GET", URL: "/v2/", Header: rebound, WantCode: 421, WantError: "DENIED", WantHeader: sharedWithUI})
	c := preflight("/v2/", "GET", rebound)
	c.WantCode, c.WantError = 421, "DENIED"
	open.exchange(c)
}

// TestCORSCredentials: the browser's credentials are for the origins that are named.
func TestCORSCredentials(t *testing.T) {
	s := newSite(t, Options{CORS: web.CORS{Origins: []string{uiOrigin, web.AnyOrigin}, Credentials: true}})
	named := sharedWithUI.with(header{"Access-Control-Allow-Credentials": "true"})
	s.exchange(exchangeCase{Name: "named", Method: "GET", URL: "/v2/", Header: fromUI, WantCode: 200, WantHeader: named})
	c := preflight("/v2/", "GET", fromUI)
	c.WantCode, c.WantHeader = 204, named
	s.exchange(c)
	s.exchange(exchangeCase{Name: "any", Method: "GET", URL: "/v2/", Header: header{"Origin": "https://evil.example"}, WantCode: 200,
		WantHeader: header{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": absent}})
}

// TestR2UnlistedOrigins has pages read from and write to registries that let in other pages: one
// with users whose browser sends a password, one that is open on loopback, and one that every page
// may read.
func TestR2UnlistedOrigins(t *testing.T) {
	named := web.CORS{Origins: []string{uiOrigin}, Credentials: true}
	guarded, open := newGuardedSite(t, Options{CORS: named}), newSite(t, Options{CheckHost: true, CORS: named})
	anyone := newSite(t, Options{CORS: web.CORS{Origins: []string{"*"}}})
	pages := maps.Clone(crossSiteHeaders)
	for _, origin := range []string{
		"http://ui.example", "https://ui.example:8443", "https://a.ui.example",
		"https://ui.example.evil.example", "https://ui.example/", "https://ui.example, https://evil.example", "*", "https://*",
	} {
		pages[origin] = header{"Origin": origin, "Sec-Fetch-Site": "cross-site"}
	}
	for name, fields := range pages {
		for _, s := range []*site{guarded.site, open, anyone} {
			as, want, wantRead := header{}, notSharedVaries, header{}
			if s == guarded.site {
				as, wantRead = passwordHeader("alice"), variesByUser
			}
			if origin := fields["Origin"]; s == anyone && origin != "" && origin != "null" {
				want = header{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": absent, "Vary": "Origin"}
			}
			s.exchange(exchangeCase{Name: name + " reads", Method: "GET", URL: "/v2/", Header: as.with(fields), WantCode: 200, WantHeader: want.with(wantRead)})
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
				s.exchange(exchangeCase{Name: name + " writes", Method: method, URL: uploads, Header: as.with(fields), WantCode: 403, WantError: "DENIED", WantHeader: want})
			}
			c := preflight(uploads, "POST", fields)
			c.WantCode, c.WantError, c.WantHeader = 403, "DENIED", want
			switch {
			case fields["Origin"] == "":
				continue
			case want["Access-Control-Allow-Origin"] == "*":
				c.WantCode, c.WantError = 204, ""
			}
			s.exchange(c)
		}
	}
}

// TestCORSExposesFields: pages can read all fields of answers but those that say nothing about
// their content.
func TestCORSExposesFields(t *testing.T) {
	s := newSite(t, Options{CORS: web.CORS{Origins: []string{uiOrigin}}})
	_, d := s.pushImage("team/app", "v1", "")
	referrer := image("{}", "layer", `,"subject":{"mediaType":"`+imageType+`","digest":"`+d+`","size":7}`)
	seen := map[string]bool{}
	for _, c := range []exchangeCase{
		{Method: "PUT", URL: "/v2/team/app/manifests/" + sha256Of(referrer) + "?tag=a", Body: referrer, WantCode: 201},
		{Method: "GET", URL: "/v2/team/app/referrers/" + d + "?artifactType=x", WantCode: 200},
		{Method: "GET", URL: "/v2/team/app/tags/list?n=1", WantCode: 200},
		{Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200},
		{Method: "GET", URL: "/v2/team/app/blobs/" + sha256Of("layer"), Header: header{"Range": "bytes=0-1"}, WantCode: 206},
		{Method: "POST", URL: uploads, WantCode: 202},
	} {
		c.Header = fromUI.with(c.Header)
		resp, _ := s.exchange(c)
		for field := range resp.Header {
			seen[field] = true
		}
	}
	exposed := strings.Split(sharedWithUI["Access-Control-Expose-Headers"], ", ")
	for i, field := range exposed {
		exposed[i] = http.CanonicalHeaderKey(field)
	}
	always := []string{"Cache-Control", "Content-Length", "Content-Type"} // exposed by every browser
	withheld := []string{
		"Accept-Ranges", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Date", "Docker-Distribution-Api-Version",
		"Docker-Upload-Uuid", "Vary", "X-Content-Type-Options", "X-Request-Id",
	}
	for field := range seen {
		if !slices.Contains(slices.Concat(exposed, always, withheld), field) {
			t.Errorf("pages cannot read %s", field)
		}
	}
	for _, field := range exposed { // the others belong to errors, or to a proxy
		if !seen[field] && !slices.Contains([]string{"Retry-After", "Warning", "Www-Authenticate"}, field) {
			t.Errorf("no answer has %s: does the test still make one?", field)
		}
	}
}

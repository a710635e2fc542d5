package api

import (
	"net/http"
	"testing"
)

// crossSite is what browsers add to the requests of web pages, by what kind of page it is.
var crossSite = map[string]header{
	"another site":             {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
	"another port":             {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
	"an old browser":           {"Origin": "https://evil.example"},
	"a file or a sandbox":      {"Origin": "null"},
	"no origin, another site":  {"Sec-Fetch-Site": "cross-site"},
	"a name that begins alike": {"Origin": "https://registry.example.evil.example"},
}

// TestR2CrossSiteWrites has a web page post to an open registry on loopback, and to one with users
// whose browser has a password for it.
func TestR2CrossSiteWrites(t *testing.T) {
	open := newSite(t, Options{Loopback: true, ExternalURLs: []string{"https://registry.example"}})
	guarded := newGated(t, Options{ExternalURLs: []string{"https://registry.example"}})
	d := open.pushBlob("team/base", "content")
	guarded.pushAs(passwordHeader("alice"), "team/base", "content")
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
		for page, fields := range crossSite {
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

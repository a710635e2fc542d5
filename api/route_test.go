package api

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth"
)

func TestPing(t *testing.T) {
	s := newSite(t, Options{})
	s.runCases([]exchangeCase{
		{
			Name: "ping", Method: "GET", URL: "/v2/",
			WantCode: 200, WantHeader: header{"Content-Type": "application/json", "Content-Length": "2"}, WantBody: "{}",
		},
		{
			Name: "without a slash", Method: "GET", URL: "/v2",
			WantCode: 200, WantHeader: header{"Content-Length": "2"}, WantBody: "{}",
		},
		{
			Name: "head", Method: "HEAD", URL: "/v2/",
			WantCode: 200, WantHeader: header{"Content-Type": "application/json", "Content-Length": "2"},
		},
		{Name: "live", Method: "GET", URL: "/livez", WantCode: 200, WantBody: "ok\n"},
		{Name: "not ready", Method: "GET", URL: "/readyz", WantCode: 503},
	})
	s.SetReady(true)
	s.runCases([]exchangeCase{{Name: "ready", Method: "GET", URL: "/readyz", WantCode: 200}})
	s.SetReady(false)
	s.runCases([]exchangeCase{{Name: "no longer", Method: "GET", URL: "/readyz", WantCode: 503}})
}

// TestPaths requests paths that are almost valid. They are neither cleaned nor redirected.
func TestPaths(t *testing.T) {
	s := newSite(t, Options{})
	_, d := s.pushImage("team/app", "v1", "")
	const invalid = "NAME_INVALID"
	long := strings.Repeat("a/", 127) + "ab" // 256 characters
	var cases []exchangeCase
	for path, want := range map[string]string{
		"/":                           "200 ",
		"//":                          "404 NAME_UNKNOWN",
		"/v1/":                        "404 NAME_UNKNOWN",
		"/v2//":                       "404 NAME_UNKNOWN",
		"/v2x":                        "404 NAME_UNKNOWN",
		"//v2/":                       "404 NAME_UNKNOWN",
		"/v2/team/app":                "404 NAME_UNKNOWN",
		"/v2/tags/list":               "404 NAME_UNKNOWN",
		"/v2/team/app/tags/list/":     "404 NAME_UNKNOWN",
		"/v2/team/app/tags":           "404 NAME_UNKNOWN",
		"/v2/team/app/manifests/":     "404 NAME_UNKNOWN",
		"/v2//manifests/v1":           "404 NAME_UNKNOWN",
		"/v2/_catalog/":               "404 NAME_UNKNOWN",
		"/v2/team/app/%6danifests/v1": "404 NAME_UNKNOWN",
		"/v2/team/app/manifests/v1":   "200 ",
		"/v2/team/app/manifests/%761": "200 ",
		"/v2/team/app/manifests/" + d: "200 ",
		"/v2/team/app/manifests/sha256%3a" + d[7:]:   "200 ",
		"/v2/team/app/manifests/sha256%3A" + d[7:]:   "200 ",
		"/v2/team/app/manifests/sha256%253A" + d[7:]: "404 MANIFEST_UNKNOWN",
		"/v2/team/app/manifests/a%2fb":               "400 " + invalid,
		"/v2/team/app/manifests/..%2fv1":             "400 " + invalid,
		"/v2/team/app/manifests/%2e%2e":              "404 MANIFEST_UNKNOWN",
		"/v2/team/app/manifests/v1%00":               "404 MANIFEST_UNKNOWN",
		"/v2/team%2fapp/manifests/v1":                "400 " + invalid,
		"/v2/te%61m/app/manifests/v1":                "400 " + invalid,
		"/v2/team/%2e%2e/team/app/manifests/v1":      "400 " + invalid,
		"/v2/team/../team/app/manifests/v1":          "400 " + invalid,
		"/v2/team/./app/manifests/v1":                "400 " + invalid,
		"/v2/team//app/manifests/v1":                 "400 " + invalid,
		"/v2/team/app//manifests/v1":                 "400 " + invalid,
		"/v2//team/app/manifests/v1":                 "400 " + invalid,
		"/v2/Team/app/manifests/v1":                  "400 " + invalid,
		"/v2/team/app;x/manifests/v1":                "400 " + invalid,
		"/v2/team/app%3f/manifests/v1":               "400 " + invalid,
		"/v2/team/app%00/manifests/v1":               "400 " + invalid,
		`/v2/team\app/manifests/v1`:                  "400 " + invalid,
		"/v2/.team/app/manifests/v1":                 "400 " + invalid,
		"/v2/team-/app/manifests/v1":                 "400 " + invalid,
		"/v2/localhost:5000/app/manifests/v1":        "400 " + invalid,
		"/v2/" + long + "/manifests/v1":              "400 " + invalid,
		"/v2/" + long[:254] + "/manifests/v1":        "400 " + invalid, // ends with a slash
		"/v2/" + long[1:255] + "/manifests/v1":       "400 " + invalid, // begins with one
		"/v2/" + long[:255] + "/manifests/v1":        "404 MANIFEST_UNKNOWN",
		// The last keyword counts, so every word may be in a name.
		"/v2/x/manifests/manifests/v1":      "404 MANIFEST_UNKNOWN",
		"/v2/manifests/manifests/manifests": "404 MANIFEST_UNKNOWN",
		"/v2/x/blobs/uploads/manifests/v1":  "404 MANIFEST_UNKNOWN",
		"/v2/a/blobs/uploads/blobs/" + d:    "404 BLOB_UNKNOWN",
		"/v2/a/manifests/tags/list":         "404 NAME_UNKNOWN",
		"/v2/blobs/uploads/tags/list":       "404 NAME_UNKNOWN",
		"/v2/a/tags/list/tags/list":         "404 NAME_UNKNOWN",
		"/v2/a/blobs/uploads/uploads":       "404 BLOB_UPLOAD_UNKNOWN",
		"/v2/a/blobs/uploads/a%20b":         "404 BLOB_UPLOAD_UNKNOWN",
		"/v2/a/blobs/uploads/..%2f..%2fx":   "400 " + invalid,
		"/v2/_catalog/manifests/v1":         "400 " + invalid,
		// References.
		"/v2/team/app/manifests/.INVALID_MANIFEST_NAME":               "404 MANIFEST_UNKNOWN",
		"/v2/team/app/manifests/" + strings.Repeat("x", 129):          "404 MANIFEST_UNKNOWN",
		"/v2/team/app/manifests/sha256:baddigest":                     "400 DIGEST_INVALID",
		"/v2/team/app/manifests/md5:d41d8cd98f00b204e9800998ecf8427e": "400 DIGEST_INVALID",
		"/v2/team/app/blobs/sha256:baddigest":                         "400 DIGEST_INVALID",
		"/v2/team/app/blobs/latest":                                   "400 DIGEST_INVALID",
		"/v2/team/app/blobs/" + strings.ToUpper(d):                    "400 DIGEST_INVALID",
		"/v2/team/app/referrers/sha256:bad":                           "400 DIGEST_INVALID",
		"/v2/team/app/referrers/latest":                               "400 DIGEST_INVALID",
	} {
		code, e, _ := strings.Cut(want, " ")
		n := map[string]int{"200": 200, "400": 400, "404": 404}[code]
		cases = append(cases,
			exchangeCase{Name: "GET", Method: "GET", URL: path, WantCode: n, WantError: e, WantHeader: header{"Location": absent}})
		if !strings.Contains(path, "/uploads/") {
			cases = append(cases, exchangeCase{Name: "HEAD", Method: "HEAD", URL: path, WantCode: n, WantError: e})
		}
	}
	s.runRawCases(cases)
	if strings.Contains(s.log.String(), `"status":30`) {
		t.Error("something was redirected")
	}
}

// runRawCases makes the exchanges with paths that net/url would refuse or change.
func (s *site) runRawCases(cases []exchangeCase) {
	s.t.Helper()
	for _, c := range cases {
		resp, body := s.sendRaw(c.Method+" "+c.URL+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", c.Method)
		s.check(c, resp, body)
	}
}

func TestMethods(t *testing.T) {
	s := newSite(t, Options{})
	d := sha256Of("x")
	var cases []exchangeCase
	for path, allow := range map[string]string{
		"/v2/":                     "GET, HEAD",
		"/v2/_catalog":             "GET, HEAD",
		"/v2/a/tags/list":          "GET, HEAD",
		"/v2/a/manifests/v1":       "DELETE, GET, HEAD, PUT",
		"/v2/a/blobs/" + d:         "DELETE, GET, HEAD",
		"/v2/a/blobs/uploads/":     "POST",
		"/v2/a/blobs/uploads":      "POST",
		"/v2/a/blobs/uploads/id":   "DELETE, GET, PATCH, PUT",
		"/v2/a/referrers/" + d:     "GET, HEAD",
		"/livez":                   "GET, HEAD",
		"/readyz":                  "GET, HEAD",
		"/":                        "GET, HEAD",
		"/v2/UPPER/manifests/x%2f": "DELETE, GET, HEAD, PUT",
	} {
		for _, method := range []string{"OPTIONS", "TRACE", "BREW", "POST", "PATCH"} {
			if strings.Contains(allow, method) {
				continue
			}
			cases = append(cases, exchangeCase{
				Name: "wrong method", Method: method, URL: path,
				WantCode: 405, WantError: "UNSUPPORTED", WantHeader: header{"Allow": allow},
			})
		}
	}
	s.runCases(cases)
	resp, body := s.sendRaw("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "OPTIONS")
	s.check(exchangeCase{Name: "all", Method: "OPTIONS", URL: "*", WantCode: 404, WantError: "NAME_UNKNOWN"}, resp, body)
}

// denyPermission is a policy that denies one permission.
type denyPermission auth.Permission

func (p denyPermission) Decide(_ auth.Identity, _ netip.Addr, asked auth.Permission, _ string) auth.Decision {
	return auth.Decision{Allowed: asked != auth.Permission(p)}
}

func (p denyPermission) View(auth.Identity, netip.Addr) auth.View { return auth.View{} }

func (p denyPermission) AllowsAnonymous() bool { return true }

// TestPermissions denies each permission and checks which routes are denied. The policy decides
// before storage is called, so the content does not matter.
func TestPermissions(t *testing.T) {
	d := sha256Of("x")
	routes := map[string]auth.Permission{
		"GET /v2/":                      auth.None,
		"GET /v2/_catalog":              auth.Catalog,
		"GET /v2/a/tags/list":           auth.Pull,
		"GET /v2/a/manifests/v1":        auth.Pull,
		"HEAD /v2/a/manifests/v1":       auth.Pull,
		"PUT /v2/a/manifests/v1":        auth.Push,
		"DELETE /v2/a/manifests/v1":     auth.Delete,
		"GET /v2/a/blobs/" + d:          auth.Pull,
		"HEAD /v2/a/blobs/" + d:         auth.Pull,
		"DELETE /v2/a/blobs/" + d:       auth.Delete,
		"POST /v2/a/blobs/uploads/":     auth.Push,
		"GET /v2/a/blobs/uploads/id":    auth.Push,
		"PATCH /v2/a/blobs/uploads/id":  auth.Push,
		"PUT /v2/a/blobs/uploads/id":    auth.Push,
		"DELETE /v2/a/blobs/uploads/id": auth.Push,
		"GET /v2/a/referrers/" + d:      auth.Pull,
	}
	for _, refused := range []auth.Permission{auth.None, auth.Catalog, auth.Pull, auth.Push, auth.Delete} {
		s := newSite(t, Options{Policy: denyPermission(refused)})
		for route, needs := range routes {
			method, path, _ := strings.Cut(route, " ")
			req, err := http.NewRequest(method, "http://"+s.addr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			var body struct{ Errors []struct{ Code string } }
			_ = json.NewDecoder(resp.Body).Decode(&body) // HEAD has none
			resp.Body.Close()
			if denied := resp.StatusCode == http.StatusForbidden; denied != (needs == refused) {
				t.Errorf("%s without %s: %d", route, refused, resp.StatusCode)
			} else if denied && method != "HEAD" && body.Errors[0].Code != "DENIED" {
				t.Errorf("%s without %s: %v", route, refused, body)
			}
		}
	}
}

// TestWithoutPolicy checks that an API without a policy denies every guarded request.
func TestWithoutPolicy(t *testing.T) {
	s := newSite(t, Options{Policy: denyAll{}})
	s.runCases([]exchangeCase{
		{Name: "ping", Method: "GET", URL: "/v2/", WantCode: 200},
		{Name: "pull", Method: "GET", URL: "/v2/a/manifests/v1", WantCode: 403, WantError: "DENIED"},
		{Name: "push", Method: "POST", URL: "/v2/a/blobs/uploads/", WantCode: 403, WantError: "DENIED"},
	})
	if New(nil, Options{}).policy != (denyAll{}) {
		t.Error("without a policy something else than closed decides")
	}
}

func TestHost(t *testing.T) {
	s := newSite(t, Options{CheckHost: true, Hosts: []string{"Registry.LAN", "other.lan:5000"}})
	for host, ok := range map[string]bool{
		"localhost": true, "localhost:5000": true, "LocalHost": true, "localhost.": true,
		"berth.localhost": true, "berth.localhost:5000": true,
		"127.0.0.1": true, "127.0.0.1:80": true, "127.8.9.1:5000": true,
		"[::1]": true, "[::1]:5000": true, "[::ffff:127.0.0.1]": true,
		"registry.lan": true, "registry.lan:5000": true, "REGISTRY.lan.:1": true,
		"other.lan:5000": true, "other.lan": false, "other.lan:5001": false,
		"evil.example": false, "evil.example:5000": false, "localhost.evil.example": false, "notlocalhost": false,
		"127.0.0.1.evil.example": false, "10.0.0.1": false, "[::2]": false, "0.0.0.0": false, "": false,
		"2130706433": false, "127.1": false,
	} {
		c := exchangeCase{Name: "Host " + host, Method: "GET", URL: "/v2/", WantCode: 200}
		if !ok {
			c.WantCode, c.WantError = 421, "DENIED"
		}
		resp, body := s.sendRaw("GET /v2/ HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n", "GET")
		s.check(c, resp, body)
	}
	open := newSite(t, Options{Hosts: []string{"registry.lan"}})
	open.runCases([]exchangeCase{{Name: "not on loopback", Method: "GET", URL: "/v2/", Header: header{"Host": "evil.example"}, WantCode: 200}})
}

package api

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
)

// TestHealthOfAnyHost: load balancers send an address or, by HTTP/1.0, no Host at all.
func TestHealthOfAnyHost(t *testing.T) {
	sites := map[string]*site{
		"open":       newSite(t, Options{CheckHost: true}),
		"with users": newGuardedSite(t, Options{CheckHost: true}).site,
	}
	for name, s := range sites {
		s.SetReady(true)
		for path, wantBody := range map[string]string{"/livez": "ok\n", "/readyz": "ok\n", "/": "This is a container registry. Its API is at /v2/.\n"} {
			for _, method := range []string{"GET", "HEAD"} {
				for _, rest := range []string{" HTTP/1.0\r\n", " HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n", " HTTP/1.1\r\nHost:\r\nConnection: close\r\n"} {
					c := exchangeCase{Name: name + strings.ReplaceAll(rest, "\r\n", " "), Method: method, URL: path, WantCode: 200, WantHeader: header{"Location": absent}}
					if method == "GET" {
						c.WantBody = wantBody
					}
					resp, body := s.sendRaw(method+" "+path+rest+"\r\n", method)
					s.check(c, resp, body)
				}
			}
			resp, body := s.sendRaw("POST "+path+" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "POST")
			s.check(exchangeCase{Name: name, Method: "POST", URL: path, WantCode: 405, WantError: "UNSUPPORTED", WantHeader: header{"Allow": "GET, HEAD"}}, resp, body)
		}
		for _, path := range []string{"/v2/", "/nowhere"} {
			resp, body := s.sendRaw("GET "+path+" HTTP/1.0\r\n\r\n", "GET")
			s.check(exchangeCase{Name: name, Method: "GET", URL: path, WantCode: 421, WantError: "DENIED"}, resp, body)
		}
	}
}

// TestHostBehindProxy: both the proxy's Host and the one that it forwards are checked.
func TestHostBehindProxy(t *testing.T) {
	s := newSite(t, Options{CheckHost: true, Hosts: []string{"r.example"}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	for _, c := range []struct {
		host, forwarded string
		code            int
	}{
		{"localhost", "r.example", 200},
		{"r.example", "r.example:443", 200},
		{"localhost", "evil.example", 421},
		{"evil.example", "localhost", 421},
	} {
		want := exchangeCase{Name: c.host + " for " + c.forwarded, Method: "GET", URL: "/v2/", WantCode: c.code}
		want.Header = header{"Host": c.host, "X-Forwarded-Host": c.forwarded}
		if c.code == 421 {
			want.WantError = "DENIED"
		}
		s.exchange(want)
	}
}

// TestLocation has the beginning of each Location, by the settings and the host of the request.
func TestLocation(t *testing.T) {
	const emptyIndex = `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[]}`
	urls := []string{"https://main.example", "https://r.example", "http://r.example", "http://10.0.0.1:5000"}
	proxied := header{"X-Forwarded-Host": "r.example", "X-Forwarded-Proto": "HTTPS"}
	plain := header{"Host": "r.example"}
	other := header{"Host": "other.example:5000"}
	for name, test := range map[string]struct {
		mode   RelativeLocations
		urls   []string
		header header
		want   string
	}{
		"by default":              {"", urls, plain, "http://r.example"},
		"auto":                    {RelativeAuto, urls, plain, "http://r.example"},
		"auto, canonical":         {RelativeAuto, urls, header{"Host": "R.Example.:80"}, "http://r.example"},
		"auto, of another scheme": {RelativeAuto, urls, header{"Host": "main.example:443"}, "https://main.example"},
		"auto, the scheme counts": {RelativeAuto, urls, proxied, "https://r.example"},
		"auto, with a port":       {RelativeAuto, urls, header{"Host": "10.0.0.1:5000"}, "http://10.0.0.1:5000"},
		"auto, another port":      {RelativeAuto, urls, header{"Host": "10.0.0.1"}, ""},
		"auto, another host":      {RelativeAuto, urls, other, ""},
		"auto, without URLs":      {RelativeAuto, nil, other, ""},
		"always":                  {RelativeAlways, urls, plain, ""},
		"never":                   {RelativeNever, urls, proxied, "https://r.example"},
		"never, another host":     {RelativeNever, urls, other, "http://other.example:5000"},
		"never, without URLs":     {RelativeNever, nil, proxied, "https://r.example"},
		"never, no plain host":    {RelativeNever, nil, header{"Host": "evil'"}, ""},
	} {
		o := Options{ExternalURLs: test.urls, RelativeLocations: test.mode, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
		open, guarded := newSite(t, o), newGuardedSite(t, o)
		as := passwordHeader("alice")
		for kind, s := range map[string]*site{"open": open, "with users": guarded.site} {
			d := sha256Of("x")
			h := test.header
			if s == guarded.site {
				h = as.with(h)
			}
			at := func(path string) header { return header{"Location": test.want + path} }
			for _, c := range []exchangeCase{
				{Method: "POST", URL: uploads, WantCode: 202, Save: "upload"},
				{Method: "PATCH", URL: "{upload}", Body: "x", WantCode: 202, WantHeader: header{"Location": "{location}"}},
				{Method: "GET", URL: "{upload}", WantCode: 204, WantHeader: header{"Location": "{location}"}},
				{Method: "PUT", URL: "{upload}?digest=" + d, WantCode: 201, WantHeader: at("/v2/team/app/blobs/" + d)},
				{Method: "POST", URL: uploads + "?mount=" + d + "&from=team/app", WantCode: 201, WantHeader: at("/v2/team/app/blobs/" + d)},
				{Method: "PUT", URL: "/v2/team/app/manifests/v1", Body: emptyIndex, WantCode: 201, WantHeader: at("/v2/team/app/manifests/" + sha256Of(emptyIndex))},
				{Method: "GET", URL: "/v2/team/app/tags/list?n=0", WantCode: 200, WantHeader: header{"Location": absent}},
			} {
				c.Name, c.Header = name+", "+kind, h.with(header{"Content-Type": indexType})
				s.exchange(c)
				if c.Save == "" {
					continue
				}
				s.saved["location"] = s.saved[c.Save]
				if s.saved[c.Save] = strings.TrimPrefix(s.saved["location"], test.want); !strings.HasPrefix(s.saved[c.Save], uploads) {
					t.Errorf("%s, %s: a session is at %q", name, kind, s.saved["location"])
				}
			}
		}
	}
}

// TestRealmByScheme: of two external URLs with one host a client is sent to that of its scheme.
func TestRealmByScheme(t *testing.T) {
	g := newGuardedSite(t, Options{ExternalURLs: []string{"https://r.example", "http://r.example"}})
	g.exchange(exchangeCase{
		Name: "by http", Method: "GET", URL: "/v2/", Header: header{"Host": "R.example.:80"}, WantCode: 401, WantError: "UNAUTHORIZED",
		WantHeader: header{"Www-Authenticate": `Bearer realm="http://r.example/v2/auth",service="` + service + `"`},
	})
}

// TestCaching: caches hand no answer to another caller, and none without asking.
func TestCaching(t *testing.T) {
	open, guarded := newSite(t, Options{}), newGuardedSite(t, Options{})
	as := passwordHeader("alice")
	_, d := open.pushImage("team/app", "v1", "")
	if got := guarded.pushImageAs(as, "team/app", "v1"); got == "" {
		t.Fatal("nothing was pushed")
	}
	guarded.pushBlobAs(as, "team/app", "content")
	open.pushBlob("team/app", "content")
	blob := "/v2/team/app/blobs/" + sha256Of("content")
	cases := []exchangeCase{
		{Method: "GET", URL: "/v2/", WantCode: 200},
		{Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200},
		{Method: "GET", URL: blob, WantCode: 200},
		{Method: "GET", URL: blob, Header: header{"Range": "bytes=0-1"}, WantCode: 206},
		{Method: "GET", URL: blob, Header: header{"Range": "bytes=99-"}, WantCode: 416, WantError: "RANGE_INVALID"},
		{Method: "GET", URL: blob, Header: header{"If-None-Match": `"` + sha256Of("content") + `"`}, WantCode: 304},
		{Method: "GET", URL: "/v2/team/app/tags/list", WantCode: 200},
		{Method: "GET", URL: "/v2/team/app/referrers/" + d, WantCode: 200},
		{Method: "GET", URL: "/v2/team/app/manifests/v2", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Method: "GET", URL: "/v2/nowhere", WantCode: 404, WantError: "NAME_UNKNOWN"},
	}
	for _, c := range append(cases, exchangeCase{Method: "GET", URL: "/v2/_catalog", WantCode: 200}) {
		c.Name, c.WantHeader = "open", header{"Cache-Control": "no-cache", "Vary": absent}
		open.exchange(c)
	}
	cases = append(cases,
		exchangeCase{Method: "GET", URL: "/v2/prod/app/tags/list", WantCode: 403, WantError: "DENIED"},
		exchangeCase{Method: "HEAD", URL: blob, WantCode: 200})
	for _, c := range cases {
		c.Name, c.Header = "with users", as.with(c.Header)
		c.WantHeader = header{"Cache-Control": "private, no-cache", "Vary": "Authorization"}
		guarded.exchange(c)
	}
	for _, c := range []exchangeCase{ // of which no cache keeps an answer
		{Name: "upload", Method: "POST", URL: uploads, WantCode: 202},
		{Name: "delete", Method: "DELETE", URL: "/v2/prod/app/manifests/v1", WantCode: 403, WantError: "DENIED"},
	} {
		c.Header, c.WantHeader = as, header{"Cache-Control": absent, "Vary": absent}
		guarded.exchange(c)
	}
	guarded.runCases([]exchangeCase{
		{Name: "without credentials", Method: "GET", URL: blob, WantCode: 401, WantError: "UNAUTHORIZED", WantHeader: header{"Cache-Control": "no-store"}},
		{Name: "keys", Method: "GET", URL: jwksPath, WantCode: 200, WantHeader: header{"Cache-Control": "public, max-age=3600", "Vary": absent}},
		{Name: "health", Method: "GET", URL: "/livez", WantCode: 200, WantHeader: header{"Cache-Control": absent, "Vary": absent}},
	})
}

// TestLoopbackHostFromProxy: a proxy that does not hand on its clients' Host is warned of, once.
func TestLoopbackHostFromProxy(t *testing.T) {
	const warning = "a proxy hands on a loopback host"
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	client := header{"X-Forwarded-For": "203.0.113.5"}
	for name, test := range map[string]struct {
		options Options
		header  header
		want    int
	}{
		"an address":         {Options{TrustedProxies: proxies}, client, 1},
		"a name":             {Options{TrustedProxies: proxies}, client.with(header{"Host": "LOCALHOST.:5000"}), 1},
		"open, checked":      {Options{TrustedProxies: proxies, CheckHost: true, Policy: auth.Open{}}, client, 1},
		"another host":       {Options{TrustedProxies: proxies}, client.with(header{"Host": "r.example"}), 0},
		"forwarded":          {Options{TrustedProxies: proxies}, client.with(header{"X-Forwarded-Host": "r.example"}), 0},
		"with external URLs": {Options{TrustedProxies: proxies, ExternalURLs: []string{"https://r.example"}}, client, 0},
		"a local client":     {Options{TrustedProxies: proxies}, header{"X-Forwarded-For": "127.0.0.1"}, 0},
		"no client":          {Options{TrustedProxies: proxies}, header{}, 0},
		"no trusted proxy":   {Options{}, client, 0},
	} {
		s := newSite(t, test.options)
		ping := exchangeCase{Name: name, Method: "GET", URL: "/v2/", Header: test.header, WantCode: 200}
		s.runCases([]exchangeCase{ping, ping, ping})
		if got := strings.Count(s.log.String(), warning); got != test.want {
			t.Errorf("%s: %d warnings, want %d", name, got, test.want)
		}
	}
}

// TestRequestURL has hosts of requests, and whether a URL can be made of them.
func TestRequestURL(t *testing.T) {
	for name, plain := range map[string]bool{
		"r.example": true, "r.example:5000": true, "10.0.0.7:5000": true, "[::1]": true, "[::1]:5000": true, "my_registry": true,
		"": false, "[::1": false, "localhost]": false, "a:b:c": false, "][": false, `a"b`: false, "a b": false, "r.example:x": false, "a/b": false, "u@a": false,
	} {
		want := ""
		if plain {
			want = "https://" + name
		}
		if got := requestURL(web.Origin{Scheme: "https", Host: name}); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
)

// FuzzAuthorization parses any Authorization. Credentials that are parsed are the same when they
// are encoded again. What cannot be parsed is answered 401 or 429 with JSON.
func FuzzAuthorization(f *testing.F) {
	for _, value := range []string{
		"", " ", "Basic", "Basic ", "Basic Og==", "Basic YTpi", "basic YTpi", "Basic  YTpi", "Basic\tYTpi", "Basic YTpi, Basic YTpi", "Basic YTpiOmM=", "Basic YTo", "Basic Onh4", "Basic /w==",
		"Bearer x", "bearer x.y.z", "Bearer", "Bearer  x", "Bearer x y", "Digest x", "BearerBasic YTpi", "Negotiate YIIB", "Basic \x00", "Bearer \x00", "Bearer é",
	} {
		f.Add(value)
	}
	parts := newAuthParts(f)
	a := New(&sortedTags{}, Options{Policy: parts.policy, Auth: parts.auth})
	f.Fuzz(func(t *testing.T, value string) {
		s, err := parseAuthorization([]string{value})
		kind, rest, _ := strings.Cut(value, " ")
		switch {
		case err != nil:
			if s != (authorization{}) {
				t.Errorf("%q is refused and shows %d", value, s.scheme)
			}
		case s.scheme == schemeBearer:
			if !strings.EqualFold(kind, "Bearer") || s.secret != strings.TrimLeft(rest, " ") || s.secret == "" || s.name != "" {
				t.Errorf("%q is the token %q", value, s.secret)
			}
		case s.scheme == schemeBasic:
			again, err := base64.StdEncoding.DecodeString(strings.TrimLeft(rest, " "))
			if err != nil || !strings.EqualFold(kind, "Basic") || string(again) != s.name+":"+s.secret || strings.Contains(s.name, ":") {
				t.Errorf("%q is %q with %q", value, s.name, s.secret)
			}
		default:
			if !strings.EqualFold(kind, "Basic") || strings.TrimLeft(rest, " \r\n") == "" {
				t.Errorf("%q is nothing", value)
			}
		}
		if _, err := parseAuthorization([]string{value, value}); err == nil {
			t.Errorf("%q twice is taken", value)
		}
		r := httptest.NewRecorder()
		a.serve(r, &http.Request{Method: "GET", URL: &url.URL{Path: "/v2/"}, Host: "localhost", Header: http.Header{"Authorization": {value}}, RemoteAddr: "127.0.0.1:1"})
		if r.Code != http.StatusUnauthorized && r.Code != http.StatusTooManyRequests || !json.Valid(r.Body.Bytes()) {
			t.Errorf("%q is answered %d %s", value, r.Code, r.Body)
		}
	})
}

// oddReposPolicy allows pulls and pushes of repositories whose names have odd lengths.
type oddReposPolicy struct{}

func (oddReposPolicy) Decide(_ auth.Identity, _ netip.Addr, p auth.Permission, repo string) auth.Decision {
	return auth.Decision{Allowed: p == auth.Catalog || p != auth.Delete && len(repo)%2 == 1}
}

func (oddReposPolicy) View(auth.Identity, netip.Addr) auth.View { return auth.View{} }

func (oddReposPolicy) AllowsAnonymous() bool { return true }

// FuzzTokenRequest requests a token with any query, and with the same parameters in a form. All
// granted access was requested, and is allowed by the policy.
func FuzzTokenRequest(f *testing.F) {
	for _, query := range []string{
		"", "scope=repository:a:pull", "scope=repository:a:pull,push+repository:bb:pull", "scope=repository:a:*&scope=registry:catalog:*", "service=registry.test&scope=repository:a/b:delete",
		"scope=repository:localhost:5000/a:pull", "scope=repository(x):a:pull", "scope=%0a", "scope=repository:%2e%2e:pull", "service=x", "service=a&service=b", "scope=a;b", "%", "grant_type=password",
		"grant_type=refresh_token", "grant_type=password&scope=repository:a:pull", "grant_type=password&username=a", "grant_type=password&username=a&password=b",
		"grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token_type=urn:ietf:params:oauth:token-type:id_token&subject_token=a.b.c",
		"account=a&client_id=b&offline_token=true&access_type=offline", "scope=" + strings.Repeat("a+", 300),
	} {
		f.Add(query)
	}
	parts := newAuthParts(f)
	a := New(&sortedTags{}, Options{Policy: oddReposPolicy{}, Auth: parts.auth})
	f.Fuzz(func(t *testing.T, query string) {
		values, queryErr := url.ParseQuery(query)
		for _, method := range []string{"GET", "POST"} {
			req := httptest.NewRequest("GET", "http://localhost"+tokenPath, nil)
			if method == "GET" {
				req.URL.RawQuery = query
			} else {
				req = httptest.NewRequest("POST", "http://localhost"+tokenPath, strings.NewReader(query))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			r := &deadlineRecorder{httptest.NewRecorder()}
			a.serve(r, req)
			switch r.Code {
			case http.StatusOK:
			case http.StatusBadRequest, http.StatusUnauthorized, http.StatusTooManyRequests:
				var e errorBody
				if err := json.Unmarshal(r.Body.Bytes(), &e); err != nil || len(e.Errors) != 1 || e.OAuth == "" || e.Description == "" {
					t.Errorf("%s %q is refused with %s", method, query, r.Body)
				}
				continue
			default:
				t.Fatalf("%s %q is answered %d %s", method, query, r.Code, r.Body)
			}
			var got tokenResponse
			if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil || queryErr != nil {
				t.Fatalf("%s %q (%v) is answered %s", method, query, queryErr, r.Body)
			}
			grant, err := parts.auth.Tokens.Verify(context.Background(), got.Token, 0)
			if err != nil || grant.Identity.Kind != auth.Anonymous {
				t.Fatalf("%s %q is given a token for %v, %v", method, query, grant.Identity, err)
			}
			if method == "POST" && got.Scope != scopeText(grant.Access) {
				t.Errorf("%q is said to be given %q, and is %q", query, got.Scope, scopeText(grant.Access))
			}
			checkGranted(t, values["scope"], grant.Access)
		}
	})
}

// deadlineRecorder is a recorder with deadlines, which reading a body needs.
type deadlineRecorder struct{ *httptest.ResponseRecorder }

func (deadlineRecorder) SetReadDeadline(time.Time) error  { return nil }
func (deadlineRecorder) SetWriteDeadline(time.Time) error { return nil }

// checkGranted checks that each granted action was requested and is allowed.
func checkGranted(t *testing.T, scopes []string, granted []auth.Access) {
	t.Helper()
	words := strings.Fields(strings.Join(scopes, " "))
	for _, access := range granted {
		if access.Type == "repository" && manifest.CheckName(access.Name) != nil || access.Type == "registry" && access.Name != "catalog" {
			t.Errorf("%q is given %v", scopes, access)
		}
		for _, action := range access.Actions {
			asked := slices.ContainsFunc(words, func(word string) bool {
				kind, rest, _ := strings.Cut(word, ":")
				kind, _, _ = strings.Cut(kind, "(")
				actions, ok := strings.CutPrefix(rest, access.Name+":")
				list := strings.Split(actions, ",")
				return ok && kind == access.Type && (slices.Contains(list, action) || slices.Contains(list, "*"))
			})
			p := auth.Permission(action)
			if access.Type == "registry" {
				p = auth.Catalog
			}
			if !asked || !(oddReposPolicy{}).Decide(auth.Identity{}, netip.Addr{}, p, access.Name).Allowed {
				t.Errorf("%q is given %v", scopes, access)
			}
		}
	}
}

// challengeForm matches every valid challenge.
var challengeForm = regexp.MustCompile(`^Bearer realm="(https?://[A-Za-z0-9._:\[\]-]+)/v2/auth",service="registry\.test"(,scope="(repository:[a-z0-9._/-]+:(pull|pull,push|delete)( repository:[a-z0-9._/-]+:pull)?|registry:catalog:\*)")?(,error="(invalid_token|insufficient_scope)")?$`)

// FuzzChallenge requests any path at any host. No part of the request can end a quoted string in
// the challenge.
func FuzzChallenge(f *testing.F) {
	for _, c := range [][2]string{
		{"localhost", "/v2/"}, {"r.example:5000", "/v2/a/tags/list"}, {"[::1]:5000", "/v2/a/b/blobs/uploads/?mount=sha256:" + strings.Repeat("0", 64) + "&from=c"}, {`a",x="b`, "/v2/"},
		{"a b", "/v2/_catalog"}, {"a\r\nX: y", "/v2/"}, {"", "/v2/"}, {"a/b", "/v2/"}, {"u@h", "/v2/"}, {`\`, "/v2/"}, {"é", "/v2/"}, {"h", `/v2/a"b/tags/list`}, {"h", "/v2/a/manifests/v1?x=\"y"},
	} {
		f.Add(c[0], c[1])
	}
	parts := newAuthParts(f)
	a := New(&sortedTags{}, Options{Policy: parts.policy, Auth: parts.auth})
	f.Fuzz(func(t *testing.T, host, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" || u.Opaque != "" {
			return
		}
		for _, method := range []string{"GET", "POST", "DELETE"} {
			r := httptest.NewRecorder()
			a.serve(r, &http.Request{Method: method, URL: u, Host: host, Header: http.Header{}, RemoteAddr: "127.0.0.1:1"})
			challenges := r.Header().Values("Www-Authenticate")
			if (r.Code == http.StatusUnauthorized) != (len(challenges) == 1) || len(challenges) > 1 {
				t.Fatalf("%s %q at %q is answered %d with %q", method, path, host, r.Code, challenges)
			}
			if len(challenges) == 1 {
				m := challengeForm.FindStringSubmatch(challenges[0])
				if m == nil || m[1] != "http://"+host {
					t.Errorf("%s %q at %q: the challenge is %q", method, path, host, challenges[0])
				}
			}
		}
	})
}

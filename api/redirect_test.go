package api

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
)

const (
	signedHost = "https://store.example/"
	signature  = "?signature=b2f1a9"
)

// signingBucket signs URLs that name what was signed.
type signingBucket struct {
	bucket.Store
	err error
}

func (s *signingBucket) SignURL(_ context.Context, key string, o bucket.SignOptions) (string, error) {
	url := strings.Join([]string{key, o.Expiry.String(), o.ContentType, o.CacheControl}, ";")
	return signedHost + url + signature, s.err
}

// signedSite is a site on a signingBucket, with a blob of one object, a longer one of two, and a
// manifest. It serves pages of uiOrigin, and believes a proxy on loopback.
type signedSite struct {
	*site
	bucket              *signingBucket
	one, two, url       string // digests of the blobs, and the URL of the first
	location, streaming header // the answers to a GET of the first blob
}

func newSignedSite(t *testing.T, o Redirect) *signedSite {
	t.Helper()
	s := &signedSite{bucket: &signingBucket{Store: testbucket.Open(t, "mem://")}}
	s.site = serveRegistry(t, registryOn(t, newDB(t), s.bucket, storage.Options{CacheBytes: 1 << 20}), Options{
		Redirect: o, CORS: web.CORS{Origins: []string{uiOrigin}}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	s.one = s.pushBlob("a", "hello")
	s.two = s.pushChunks("a", "hello ", "world")
	s.url = "/v2/a/blobs/" + s.one
	s.location = header{
		"Docker-Content-Digest": s.one, "Cache-Control": "no-store", "Content-Length": "0", "Content-Type": absent, "Etag": absent,
	}
	s.streaming = header{"Docker-Content-Digest": s.one, "Cache-Control": "no-cache", "Content-Type": "application/octet-stream",
		"Etag": `"` + s.one + `"`, "Location": absent}
	return s
}

// TestRedirect: the GET of a blob of one object is answered with a signed URL, and no other
// request.
func TestRedirect(t *testing.T) {
	s := newSignedSite(t, Redirect{Expiry: 5 * time.Minute})
	s.pushImage("a", "v1", "")
	for name, h := range map[string]header{
		"whole": {}, "a range": {"Range": "bytes=1-2"}, "a page": fromUI, "another entity": {"If-None-Match": `"` + s.two + `"`},
		"if the range is unchanged": {"Range": "bytes=1-2", "If-Range": `"` + s.one + `"`},
	} {
		want := s.location
		if h["Origin"] != "" {
			want = want.with(sharedWithUI)
		}
		resp, body := s.exchange(exchangeCase{Name: name, Method: "GET", URL: s.url, Header: h, WantCode: 307, WantHeader: want})
		url := resp.Header.Get("Location")
		if body != "" || !strings.HasPrefix(url, signedHost+"content/") || !strings.HasSuffix(url, ";5m0s;application/octet-stream;no-cache"+signature) {
			t.Errorf("%s: to %s with the body %q", name, url, body)
		}
	}
	for _, c := range []exchangeCase{
		{Name: "HEAD", Method: "HEAD", URL: s.url, WantCode: 200, WantHeader: s.streaming.with(header{"Content-Length": "5"})},
		{Name: "cached", Method: "GET", URL: s.url, Header: header{"If-None-Match": `"` + s.one + `"`}, WantCode: 304},
		{Name: "if it is this entity", Method: "GET", URL: s.url, Header: header{"If-Match": `"` + s.one + `"`}, WantCode: 200, WantBody: "hello"},
		{Name: "if unmodified", Method: "GET", URL: s.url, Header: header{"If-Unmodified-Since": "Sat, 29 Oct 1994 19:43:31 GMT"}, WantCode: 200, WantBody: "hello"},
		{Name: "ranges", Method: "GET", URL: s.url, Header: header{"Range": "bytes=0-0,2-3"}, WantCode: 206},
		{Name: "no range", Method: "GET", URL: s.url, Header: header{"Range": "bytes=-0"}, WantCode: 416, WantError: "RANGE_INVALID"},
		{Name: "two objects", Method: "GET", URL: "/v2/a/blobs/" + s.two, WantCode: 200, WantBody: "hello world"},
		{Name: "not there", Method: "GET", URL: "/v2/b/blobs/" + s.one, WantCode: 404, WantError: "BLOB_UNKNOWN"},
		{Name: "manifest", Method: "GET", URL: "/v2/a/manifests/v1", WantCode: 200},
	} {
		s.exchange(c)
	}
	empty := s.pushBlob("a", "")
	s.exchange(exchangeCase{Name: "empty", Method: "GET", URL: "/v2/a/blobs/" + empty, WantCode: 200, WantHeader: header{"Content-Length": "0"}})
	s.log.await(`"status":307`)
	if log := s.log.String(); strings.Contains(log, signature) || strings.Contains(log, signedHost) {
		t.Errorf("the log has a signed URL: %s", log)
	}
}

// TestRedirectSelection: size, network and the settings decide. The network is that of the client
// behind a trusted proxy.
func TestRedirectSelection(t *testing.T) {
	office := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	for name, c := range map[string]struct {
		Redirect
		from string
		want int
	}{
		"off":             {Redirect{}, "", 200},
		"of the size":     {Redirect{Expiry: time.Minute, MinSize: 5}, "", 307},
		"smaller":         {Redirect{Expiry: time.Minute, MinSize: 6}, "", 200},
		"in the network":  {Redirect{Expiry: time.Minute, Networks: office}, "10.1.2.3", 307},
		"by IPv6":         {Redirect{Expiry: time.Minute, Networks: office}, "2001:db8::1", 307},
		"not in it":       {Redirect{Expiry: time.Minute, Networks: office}, "10.2.2.3", 200},
		"forged":          {Redirect{Expiry: time.Minute, Networks: office}, "10.1.2.3, 203.0.113.9", 200},
		"unknown":         {Redirect{Expiry: time.Minute, Networks: office}, "unknown", 200},
		"the proxy alone": {Redirect{Expiry: time.Minute, Networks: office}, "", 200},
	} {
		s := newSignedSite(t, c.Redirect)
		h := header{}
		if c.from != "" {
			h["X-Forwarded-For"] = c.from
		}
		want := s.location
		if c.want == 200 {
			want = s.streaming
		}
		s.exchange(exchangeCase{Name: name, Method: "GET", URL: s.url, Header: h, WantCode: c.want, WantHeader: want})
	}
}

// TestRedirectUnsigned: where nothing can be signed the registry sends the bytes, and if signing
// fails, its error has no URL.
func TestRedirectUnsigned(t *testing.T) {
	s := newSignedSite(t, Redirect{Expiry: time.Minute})
	s.bucket.err = bucket.ErrCannotSign
	s.exchange(exchangeCase{Name: "no signer", Method: "GET", URL: s.url, WantCode: 200, WantHeader: s.streaming, WantBody: "hello"})
	s.bucket.err = errors.New("no credentials")
	_, body := s.exchange(exchangeCase{Name: "no credentials", Method: "GET", URL: s.url, WantCode: 503, WantError: "UNAVAILABLE",
		WantHeader: header{"Location": absent, "Retry-After": "5"}})
	s.log.await("no credentials")
	if text := body + s.log.String(); strings.Contains(text, signature) {
		t.Errorf("a signed URL in %s", text)
	}
}

// TestRedirectWithUsers: the answer of the store, like the registry's own, is for one user, and who
// may not pull gets no URL.
func TestRedirectWithUsers(t *testing.T) {
	b := &signingBucket{Store: testbucket.Open(t, "mem://")}
	g := serveGuarded(t, registryOn(t, newDB(t), b, storage.Options{}), Options{Redirect: Redirect{Expiry: time.Minute}})
	g.keepSecret(signature, "signature")
	alice := passwordHeader("alice")
	url := "/v2/alice/app/blobs/" + g.pushBlobAs(alice, "alice/app", "hello")
	resp, _ := g.exchange(exchangeCase{Name: "GET", Method: "GET", URL: url, Header: alice, WantCode: 307, WantHeader: header{"Cache-Control": "no-store"}})
	if to := resp.Header.Get("Location"); !strings.Contains(to, ";private, no-cache"+signature) {
		t.Errorf("the redirect is to %s", to)
	}
	g.exchange(exchangeCase{Name: "another user", Method: "GET", URL: url, Header: passwordHeader("bob"), WantCode: 403, WantError: "DENIED", WantHeader: header{"Location": absent}})
	g.exchange(exchangeCase{Name: "no user", Method: "GET", URL: url, WantCode: 401, WantError: "UNAUTHORIZED", WantHeader: header{"Location": absent}})
}

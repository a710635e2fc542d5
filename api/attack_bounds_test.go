package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// tagQuery is a query with n parameters tag.
func tagQuery(n int) string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprintf("tag=t%d", i)
	}
	return strings.Join(tags, "&")
}

// TestD5ManyTags pushes a manifest with more tags than one request may set.
func TestD5ManyTags(t *testing.T) {
	s := newSite(t, Options{})
	payload, d := s.pushImage("team/app", "v1", "")
	target := "/v2/team/app/manifests/" + d + "?"
	put := func(name, query string, code int) exchangeCase {
		c := exchangeCase{Name: name, Method: "PUT", URL: target + query, Header: header{"Content-Type": imageType}, Body: payload, WantCode: code}
		if code == http.StatusBadRequest {
			c.WantError = "TAG_INVALID"
		}
		return c
	}
	s.run([]exchangeCase{
		put("the most", tagQuery(maxTags), 201),
		put("one more", tagQuery(maxTags+1), 400),
		put("as many as a request line holds", tagQuery(6000), 400),
		put("one tag again and again", strings.Repeat("tag=v1&", maxTags)+"tag=v1", 400),
		{Name: "nothing was written", Method: "HEAD", URL: fmt.Sprintf("/v2/team/app/manifests/t%d", maxTags), WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
	})
	// The answer comes before the body is asked for.
	resp, body := s.raw("PUT "+target+tagQuery(maxTags+1)+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", "PUT")
	s.check(put("before the body", "", 400), resp, body)
}

// TestD8LongPaths asks for paths that are longer than any that this API has. They are refused
// before they are matched with the table of routes, which costs as much as a path is long.
func TestD8LongPaths(t *testing.T) {
	s := newSite(t, Options{})
	for _, n := range []int{maxPath + 1, 4096, 59_000} {
		for name, path := range map[string]string{
			"a name":             "/v2/" + strings.Repeat("a", n-len("/v2//manifests/v1")) + "/manifests/v1",
			"every route's part": "/v2/" + strings.Repeat("/manifests//blobs/uploads//tags/list/referrers/", n/47+1)[:n-4],
			"escapes":            "/v2/a/manifests/" + strings.Repeat("%41", (n-len("/v2/a/manifests/"))/3+1),
			"no route":           "/" + strings.Repeat("x", n-1),
		} {
			for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
				resp, body := s.raw(method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method)
				if resp.StatusCode != http.StatusRequestURITooLong || method != "HEAD" && !strings.Contains(body, `"NAME_INVALID"`) {
					t.Errorf("%s %s of %d bytes is answered %d %.200s", method, name, len(path), resp.StatusCode, body)
				}
			}
		}
	}
	if log := s.log.String(); strings.Contains(log, `"route":"manifest"`) {
		t.Error("a path that is too long was matched")
	}
	// The longest that there is: a name of 255 bytes and a digest of 135, its colon escaped.
	s.exchange(exchangeCase{Name: "the longest path", Method: "GET", WantCode: 404, WantError: "MANIFEST_UNKNOWN",
		URL: "/v2/" + strings.Repeat("a", 255) + "/manifests/sha512%3A" + strings.Repeat("a", 128)})
}

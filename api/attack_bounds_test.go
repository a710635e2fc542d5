package api

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-registry/berth/storage"
)

// trickleBody is a body that sends first at once, and then n single bytes at an interval. It ends
// with an error.
type trickleBody struct {
	first string
	every time.Duration
	n     int
}

func (b *trickleBody) Read(p []byte) (int, error) {
	if b.first != "" {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	if b.n--; b.n < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	time.Sleep(b.every)
	p[0] = ' '
	return 1, nil
}

// TestD1TrickledManifests has one caller push many large manifests byte by byte, with and without a
// Content-Length. Meanwhile others pull and push manifests without waiting. The slow pushes end.
func TestD1TrickledManifests(t *testing.T) {
	for protocol, length := range map[int][]int64{1: {4 << 20, -1}, 2: {4 << 20, -1}} {
		for _, length := range length {
			for _, begun := range []int{1, headBytes + 1} {
				name := fmt.Sprintf("HTTP/%d, length %d, %d bytes at once", protocol, length, begun)
				synctest.Test(t, func(t *testing.T) { trickleManifests(t, name, protocol, length, begun) })
			}
		}
	}
}

func trickleManifests(t *testing.T, name string, protocol int, length int64, begun int) {
	s, via := serveInBubble(t, newRegistry(t, "mem://", storage.Options{CacheBytes: 1 << 20}), Options{})
	s.pushImage("public/app", "cached", "")
	large := image("{}", "layer", `,"annotations":{"a":"`+strings.Repeat("x", 2<<20)+`"}`)
	put := exchangeCase{Name: name, Method: "PUT", Header: header{"Content-Type": imageType}, Body: large, WantCode: 201}
	put.URL = "/v2/public/app/manifests/uncached"
	s.exchange(put)

	const attackers = 100
	attacker := via("198.51.100.7:1", protocol)
	answers := make(chan int, attackers)
	for range attackers {
		body := &trickleBody{first: "{" + strings.Repeat(" ", begun-1), every: 20 * time.Second, n: 1000}
		go func() {
			req, err := http.NewRequest("PUT", "http://localhost/v2/users/eve/manifests/t", body)
			if err != nil {
				t.Error(err)
			}
			req.ContentLength = length
			resp, err := attacker.RoundTrip(req)
			if err != nil {
				answers <- 0 // the connection was closed
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		}()
	}
	time.Sleep(30 * time.Second)
	began := time.Now()
	s.transport = via("192.0.2.9:1", 1)
	for _, c := range []exchangeCase{
		{Name: name + ": a cached manifest", Method: "GET", URL: "/v2/public/app/manifests/cached", WantCode: 200},
		{Name: name + ": one that is not", Method: "GET", URL: "/v2/public/app/manifests/uncached", WantCode: 200},
		{Name: name + ": a small push", Method: "PUT", URL: "/v2/public/app/manifests/v2", Header: put.Header, Body: image("{}", "layer", ""), WantCode: 201},
		put,
	} {
		s.exchange(c)
	}
	if waited := time.Since(began); waited > time.Second {
		t.Errorf("%s: others waited for %v", name, waited)
	}
	for range attackers {
		// Requests beyond the share of one caller get 503.
		if status := <-answers; status != http.StatusRequestTimeout && status != http.StatusServiceUnavailable {
			t.Errorf("%s: a body that trickles is answered %d", name, status)
		}
	}
	if took := time.Since(began); took > 3*time.Minute {
		t.Errorf("%s: bodies trickled for %v", name, took)
	}
	s.checkBudgets()
}

// TestD1SlowManifestReaders has one caller request large manifests that are not cached, and read
// nothing. Others get theirs without waiting.
func TestD1SlowManifestReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, via := serveInBubble(t, newRegistry(t, "mem://", storage.Options{CacheBytes: 1 << 20}), Options{})
		s.pushImage("public/app", "v1", `,"annotations":{"a":"`+strings.Repeat("x", 3<<20)+`"}`)
		const get = "GET /v2/public/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
		for range 40 {
			conn, err := s.dialFrom("198.51.100.7:1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := io.WriteString(conn, get); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		began := time.Now()
		s.transport = via("192.0.2.9:1", 1)
		s.exchange(exchangeCase{Name: "another", Method: "GET", URL: "/v2/public/app/manifests/v1", WantCode: 200})
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("others waited for %v", waited)
		}
		time.Sleep(3 * time.Minute) // http.body_timeout ends the answers that are not read
		s.checkBudgets()
	})
}

// tagQuery returns a query with n parameters tag.
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
	s.runCases([]exchangeCase{
		put("the most", tagQuery(maxTags), 201),
		put("one more", tagQuery(maxTags+1), 400),
		put("as many as a request line holds", tagQuery(6000), 400),
		put("one tag again and again", strings.Repeat("tag=v1&", maxTags)+"tag=v1", 400),
		{Name: "nothing was written", Method: "HEAD", URL: fmt.Sprintf("/v2/team/app/manifests/t%d", maxTags), WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
	})
	// The answer comes instead of 100 Continue.
	resp, body := s.sendRaw("PUT "+target+tagQuery(maxTags+1)+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", "PUT")
	s.check(put("before the body", "", 400), resp, body)
}

// TestD8LongPaths requests paths that are longer than any valid path. They are refused before they
// are matched with the routes, because the cost of that grows with the length.
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
				resp, body := s.sendRaw(method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method)
				if resp.StatusCode != http.StatusRequestURITooLong || method != "HEAD" && !strings.Contains(body, `"NAME_INVALID"`) {
					t.Errorf("%s %s of %d bytes is answered %d %.200s", method, name, len(path), resp.StatusCode, body)
				}
			}
		}
	}
	if log := s.log.String(); strings.Contains(log, `"route":"manifest"`) {
		t.Error("a path that is too long was matched")
	}
	// The longest valid path has a name of 255 bytes and a digest of 135, its colon escaped.
	s.exchange(exchangeCase{Name: "the longest path", Method: "GET", WantCode: 404, WantError: "MANIFEST_UNKNOWN",
		URL: "/v2/" + strings.Repeat("a", 255) + "/manifests/sha512%3A" + strings.Repeat("a", 128)})
}

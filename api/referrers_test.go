package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// pushReferrers pushes n images with a subject and returns their digests, sorted. Their artifact
// types are application/x.0 and application/x.1 in turn. annotation returns the value of their
// annotation "a".
func (s *site) pushReferrers(repo, subject string, n int, annotation func(i int) string) (digests []string) {
	s.t.Helper()
	for i := range n {
		more := fmt.Sprintf(`,"artifactType":"application/x.%d","annotations":{"n":"%d","a":"%s"},"subject":{"mediaType":%q,"digest":%q,"size":1}`,
			i%2, i, annotation(i), imageType, subject)
		_, d := s.pushImage(repo, "", more)
		digests = append(digests, d)
	}
	slices.Sort(digests)
	return digests
}

func shortAnnotation(int) string { return "<&>" }

// referrers follows the Links of a list of referrers and returns the digests of each answer.
func (s *site) referrers(u string) (answers [][]string) {
	s.t.Helper()
	for u != "" {
		resp, body := s.exchange(exchangeCase{Name: "referrers", Method: "GET", URL: u, WantCode: 200})
		if len(body) > maxReferrers || resp.ContentLength >= 0 {
			s.t.Errorf("a body of %d bytes, Content-Length %d", len(body), resp.ContentLength)
		}
		answers = append(answers, digestsIn(s.t, body))
		u = nextLink(s.t, resp)
	}
	return answers
}

// digestsIn returns the digests in a list of referrers.
func digestsIn(t *testing.T, body string) (digests []string) {
	t.Helper()
	var index struct {
		Manifests []struct {
			MediaType, Digest, ArtifactType string
			Annotations                     map[string]string
		}
	}
	if err := json.Unmarshal([]byte(body), &index); err != nil {
		t.Fatal(err)
	}
	for _, m := range index.Manifests {
		digests = append(digests, m.Digest)
		if m.MediaType != imageType || !strings.HasPrefix(m.ArtifactType, "application/x.") || m.Annotations["n"] == "" {
			t.Errorf("a referrer is %+v", m)
		}
	}
	return digests
}

func TestReferrers(t *testing.T) {
	s := newSite(t, Options{})
	subject := sha256Of("subject")
	digests := s.pushReferrers("team/app", subject, 3, shortAnnotation)
	u := "/v2/team/app/referrers/" + subject
	fields := header{"Content-Type": indexType, "Link": absent, "Oci-Filters-Applied": absent, "Content-Length": absent}
	with := func(more header) header {
		h := header{}
		for _, from := range []header{fields, more} {
			for k, v := range from {
				h[k] = v
			}
		}
		return h
	}
	list := func(descriptors ...string) string {
		return `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + strings.Join(descriptors, ",") + `]}`
	}
	var all []string
	byType := map[string][]string{}
	for _, d := range digests {
		resp, payload := s.exchange(exchangeCase{Name: "a referrer", Method: "GET", URL: "/v2/team/app/manifests/" + d, WantCode: 200})
		var m struct {
			ArtifactType string
			Annotations  struct{ N string }
		}
		if err := json.Unmarshal([]byte(payload), &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"a":"<&>","n":"%s"},"artifactType":%q}`,
			imageType, d, resp.ContentLength, m.Annotations.N, m.ArtifactType))
		byType[m.ArtifactType] = append(byType[m.ArtifactType], all[len(all)-1])
	}
	next := func(query string) header {
		return header{"Link": "<" + u + "?" + strings.ReplaceAll(query, ":", "%3A") + `>; rel="next"`}
	}
	filtered := header{"Oci-Filters-Applied": "artifactType"}
	d := digests
	for _, c := range []struct {
		name, query string
		header      header
		body        string
	}{
		{"all", "", nil, list(all...)},
		{"of a type", "?artifactType=application%2Fx.1", filtered, list(byType["application/x.1"]...)},
		{"of no such type", "?artifactType=none", filtered, list()},
		{"of any type", "?artifactType=", nil, list(all...)},
		{"of no number", "?n=&last=", nil, list(all...)},
		{"none", "?n=0", nil, list()},
		{"two", "?n=2", next("last=" + d[1] + "&n=2"), list(all[:2]...)},
		{"the rest", "?n=2&last=" + d[1], nil, list(all[2])},
		{"exactly all", "?n=3", nil, list(all...)},
		{"far more than all", "?n=99999999999999999999999", nil, list(all...)},
		{"after the first", "?last=" + d[0], nil, list(all[1:]...)},
		{"after the last", "?last=" + d[2], nil, list()},
		{"after what is not there", "?last=sha256:" + strings.Repeat("0", 64), nil, list(all...)},
		{"one of a type", "?n=1&artifactType=application%2Fx.0",
			with(header{"Oci-Filters-Applied": "artifactType", "Link": "<" + u + "?artifactType=application%2Fx.0&last=" +
				strings.ReplaceAll(digestOf(t, byType["application/x.0"][0]), ":", "%3A") + `&n=1>; rel="next"`}), list(byType["application/x.0"][0])},
	} {
		s.runCases([]exchangeCase{
			{Name: c.name, Method: "GET", URL: u + c.query, WantCode: 200, WantHeader: with(c.header), WantBody: c.body},
			{Name: c.name, Method: "HEAD", URL: u + c.query, WantCode: 200, WantHeader: with(c.header)},
		})
	}
	s.runCases([]exchangeCase{
		{
			Name: "of an unknown digest", Method: "GET", URL: "/v2/team/app/referrers/" + sha256Of("x"),
			WantCode: 200, WantHeader: fields, WantBody: list(),
		},
		{
			Name: "of an unknown repository", Method: "GET", URL: "/v2/none/referrers/" + subject,
			WantCode: 200, WantHeader: fields, WantBody: list(),
		},
		{Name: "two types", Method: "GET", URL: u + "?artifactType=a&artifactType=b", WantCode: 400, WantError: "UNSUPPORTED"},
		{Name: "after no digest", Method: "GET", URL: u + "?last=x", WantCode: 400, WantError: "DIGEST_INVALID"},
		{
			Name: "after two", Method: "GET", URL: u + "?last=" + d[0] + "&last=" + d[1],
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{Name: "negative", Method: "GET", URL: u + "?n=-1", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "no number", Method: "GET", URL: u + "?n=x", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "two numbers", Method: "GET", URL: u + "?n=1&n=2", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
	})
	if got, want := s.referrers(u+"?n=1"), [][]string{{d[0]}, {d[1]}, {d[2]}}; !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("one by one they are %v, want %v", got, want)
	}
}

// digestOf returns the digest of a descriptor.
func digestOf(t *testing.T, descriptor string) string {
	t.Helper()
	var d manifest.Descriptor
	if err := json.Unmarshal([]byte(descriptor), &d); err != nil {
		t.Fatal(err)
	}
	return d.Digest.String()
}

// TestReferrersAnswer checks that one answer has all referrers that fit into 4 MiB, and a Link only
// if there are more.
func TestReferrersAnswer(t *testing.T) {
	s := newSite(t, Options{})
	many, large := sha256Of("many"), sha256Of("large")
	want := s.pushReferrers("team/app", many, 151, shortAnnotation)
	if got := s.referrers("/v2/team/app/referrers/" + many); len(got) != 1 || !slices.Equal(got[0], want) {
		t.Errorf("151 referrers are sent in %d answers", len(got))
	}
	want = s.pushReferrers("team/app", large, 70, func(int) string { return strings.Repeat("<", 65_000) })
	got := s.referrers("/v2/team/app/referrers/" + large)
	if len(got) != 2 || len(got[0]) < 63 || !slices.Equal(slices.Concat(got...), want) {
		t.Errorf("70 referrers of 65 KB are sent in %d answers, the first with %d", len(got), len(got[0]))
	}
}

// pagedReferrers is a registry that calls a function before it reads a page of referrers.
type pagedReferrers struct {
	Registry
	before func(page int) error
	pages  int
	extent error
}

func (p *pagedReferrers) ReferrersExtent(ctx context.Context, q storage.ReferrerQuery, last digest.Digest, n, bytes int) (storage.Extent, error) {
	if p.extent != nil {
		return storage.Extent{}, p.extent
	}
	return p.Registry.ReferrersExtent(ctx, q, last, n, bytes)
}

func (p *pagedReferrers) Referrers(ctx context.Context, q storage.ReferrerQuery, last digest.Digest, e storage.Extent) ([]manifest.Descriptor, error) {
	p.pages++
	if err := p.before(p.pages); err != nil {
		return nil, err
	}
	return p.Registry.Referrers(ctx, q, last, e)
}

// servePaged serves a registry that returns five referrers in pages of two.
func servePaged(t *testing.T, registry *pagedReferrers) (s *site, u string, digests []string) {
	registry.Registry = newRegistry(t, "mem://", storage.Options{})
	s = serveRegistry(t, registry, Options{})
	subject := sha256Of("subject")
	digests = s.pushReferrers("team/app", subject, 5, func(int) string { return strings.Repeat("x", 30_000) })
	return s, "/v2/team/app/referrers/" + subject, digests
}

// TestReferrersMeanwhile deletes and pushes referrers while a list is sent. Deleted ones are left
// out, even the last of the extent. New ones are in later lists.
func TestReferrersMeanwhile(t *testing.T) {
	var s *site
	var digests []string
	registry := &pagedReferrers{}
	registry.before = func(page int) error {
		if page == 2 {
			for _, d := range []string{digests[0], digests[2], digests[4]} {
				s.exchange(exchangeCase{Name: "delete", Method: "DELETE", URL: "/v2/team/app/manifests/" + d, WantCode: 202})
			}
			s.pushReferrers("team/app", sha256Of("subject"), 1, shortAnnotation)
		}
		return nil
	}
	s, u, digests := servePaged(t, registry)
	_, body := s.exchange(exchangeCase{Name: "meanwhile", Method: "GET", URL: u, WantCode: 200})
	if got, want := digestsIn(t, body), []string{digests[0], digests[1], digests[3]}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, body = s.exchange(exchangeCase{Name: "afterwards", Method: "GET", URL: u, WantCode: 200})
	if got := digestsIn(t, body); len(got) != 3 {
		t.Errorf("afterwards there are %v", got)
	}
}

// TestReferrersFail checks that an error before the first page gets a status and no part of the
// list. A later error cuts the answer.
func TestReferrersFail(t *testing.T) {
	fire := errors.New("the disk is on fire")
	failing := 1
	registry := &pagedReferrers{}
	registry.before = func(page int) error {
		if page == failing {
			return fire
		}
		return nil
	}
	s, u, _ := servePaged(t, registry)
	none := header{"Link": absent, "Oci-Filters-Applied": absent, "Content-Type": "application/json"}
	s.exchange(exchangeCase{Name: "the first page", Method: "GET", URL: u + "?n=2&artifactType=application%2Fx.0", WantCode: 500, WantHeader: none, WantError: "UNKNOWN"})
	registry.extent = fire
	for _, method := range []string{"GET", "HEAD"} {
		s.exchange(exchangeCase{Name: "the extent", Method: method, URL: u, WantCode: 500, WantHeader: none, WantError: "UNKNOWN"})
	}
	registry.extent, registry.pages, failing = nil, 0, 2
	resp, err := http.Get("http://" + s.addr + u)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) || len(body) < 60_000 || json.Valid(body) {
		t.Errorf("a list that failed: %d, %d bytes, %v", resp.StatusCode, len(body), err)
	}
	s.log.await(`"route":"referrers"`, `"cut":"the disk is on fire"`)
}

// TestD2ReferrersHoldNothing checks that readers that stall do not hold the only connection of the
// database.
func TestD2ReferrersHoldNothing(t *testing.T) {
	s := newSite(t, Options{})
	subject := sha256Of("subject")
	want := s.pushReferrers("team/app", subject, 70, func(int) string { return strings.Repeat("<", 65_000) })
	u := "/v2/team/app/referrers/" + subject
	for range 20 {
		s.dial(strings.Repeat("GET "+u+" HTTP/1.1\r\nHost: localhost\r\n\r\n", 10))
	}
	if got := slices.Concat(s.referrers(u)...); !slices.Equal(got, want) {
		t.Errorf("got %d referrers, want %d", len(got), len(want))
	}
	s.pushImage("team/app", "v1", "")
	s.exchange(exchangeCase{Name: "tags", Method: "GET", URL: "/v2/team/app/tags/list", WantCode: 200, WantBody: `{"name":"team/app","tags":["v1"]}`})
}

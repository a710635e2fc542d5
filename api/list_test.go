package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/storage"
)

// tagNames is the answer with a list of tags.
type tagNames struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

func TestTags(t *testing.T) {
	s := newSite(t, Options{})
	_, d := s.pushImage("team/app", "b", "")
	s.exchange(exchangeCase{Name: "tags", Method: "PUT", URL: "/v2/team/app/manifests/" + d + "?tag=a&tag=B&tag=1&tag=_x", Body: image("{}", "layer", ""), WantCode: 201})
	const u = "/v2/team/app/tags/list"
	list := func(tags ...string) string {
		b, _ := json.Marshal(tagNames{"team/app", append([]string{}, tags...)})
		return string(b)
	}
	none := header{"Link": absent, "Content-Type": "application/json"}
	next := func(n int, last string) header {
		return header{"Link": fmt.Sprintf("<%s?last=%s&n=%d>; rel=\"next\"", u, last, n)}
	}
	s.runCases([]exchangeCase{
		{
			Name: "all, in byte order", Method: "GET", URL: u,
			WantCode: 200, WantHeader: none, WantBody: list("1", "B", "_x", "a", "b"),
		},
		{Name: "head", Method: "HEAD", URL: u, WantCode: 200, WantHeader: none},
		{
			Name: "all after one", Method: "GET", URL: u + "?last=B",
			WantCode: 200, WantHeader: none, WantBody: list("_x", "a", "b"),
		},
		{
			Name: "after what is not there", Method: "GET", URL: u + "?last=C",
			WantCode: 200, WantHeader: none, WantBody: list("_x", "a", "b"),
		},
		{Name: "after the last", Method: "GET", URL: u + "?last=b", WantCode: 200, WantHeader: none, WantBody: list()},
		{Name: "after anything", Method: "GET", URL: u + "?last=%00%ff%20x", WantCode: 200},
		{Name: "two", Method: "GET", URL: u + "?n=2", WantCode: 200, WantHeader: next(2, "B"), WantBody: list("1", "B")},
		{
			Name: "two more", Method: "GET", URL: u + "?last=B&n=2",
			WantCode: 200, WantHeader: next(2, "a"), WantBody: list("_x", "a"),
		},
		{Name: "the rest", Method: "GET", URL: u + "?last=a&n=2", WantCode: 200, WantHeader: none, WantBody: list("b")},
		{
			Name: "exactly all", Method: "GET", URL: u + "?n=5",
			WantCode: 200, WantHeader: none, WantBody: list("1", "B", "_x", "a", "b"),
		},
		{
			Name: "more than all", Method: "GET", URL: u + "?n=6",
			WantCode: 200, WantHeader: none, WantBody: list("1", "B", "_x", "a", "b"),
		},
		{
			Name: "far more than all", Method: "GET", URL: u + "?n=99999999999999999999999",
			WantCode: 200, WantHeader: none, WantBody: list("1", "B", "_x", "a", "b"),
		},
		{Name: "none", Method: "GET", URL: u + "?n=0", WantCode: 200, WantHeader: none, WantBody: list()},
		{Name: "none after the last", Method: "GET", URL: u + "?n=0&last=b", WantCode: 200, WantHeader: none, WantBody: list()},
		{
			Name: "leading zeros", Method: "GET", URL: u + "?n=0002&last=B",
			WantCode: 200, WantHeader: next(2, "a"), WantBody: list("_x", "a"),
		},
		{Name: "negative", Method: "GET", URL: u + "?n=-1", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "no number", Method: "GET", URL: u + "?n=x", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "a sign", Method: "GET", URL: u + "?n=%2B1", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "a fraction", Method: "GET", URL: u + "?n=1.5", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "empty", Method: "GET", URL: u + "?n=", WantCode: 200, WantHeader: none, WantBody: list("1", "B", "_x", "a", "b")},
		{Name: "two that are empty", Method: "GET", URL: u + "?n=&n=", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "twice", Method: "GET", URL: u + "?n=1&n=2", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "last twice", Method: "GET", URL: u + "?last=1&last=2", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "no such repository", Method: "GET", URL: "/v2/none/tags/list", WantCode: 404, WantError: "NAME_UNKNOWN"},
		{
			Name: "no such repository, none of it", Method: "GET", URL: "/v2/none/tags/list?n=0",
			WantCode: 404, WantError: "NAME_UNKNOWN",
		},
		{Name: "empty it", Method: "DELETE", URL: "/v2/team/app/manifests/" + d, WantCode: 202},
		{Name: "an empty one", Method: "GET", URL: u, WantCode: 200, WantHeader: none, WantBody: list()},
		{Name: "an empty one by pages", Method: "GET", URL: u + "?n=3", WantCode: 200, WantHeader: none, WantBody: list()},
	})
}

func TestCatalog(t *testing.T) {
	s := newSite(t, Options{})
	const u = "/v2/_catalog"
	list := func(names ...string) string {
		b, _ := json.Marshal(append([]string{}, names...))
		return `{"repositories":` + string(b) + `}`
	}
	none := header{"Link": absent, "Content-Type": "application/json"}
	s.exchange(exchangeCase{Name: "an empty registry", Method: "GET", URL: u, WantCode: 200, WantHeader: none, WantBody: list()})
	for _, repo := range []string{"b", "a", "a/b", "a-b"} {
		s.pushImage(repo, "v1", "")
	}
	s.pushBlob("only/a/blob", "x")
	s.runCases([]exchangeCase{
		{Name: "all", Method: "GET", URL: u, WantCode: 200, WantHeader: none, WantBody: list("a", "a-b", "a/b", "b")},
		{
			Name: "three", Method: "GET", URL: u + "?n=3",
			WantCode: 200, WantHeader: header{"Link": `</v2/_catalog?last=a%2Fb&n=3>; rel="next"`}, WantBody: list("a", "a-b", "a/b"),
		},
		{Name: "the rest", Method: "GET", URL: u + "?last=a%2Fb&n=3", WantCode: 200, WantHeader: none, WantBody: list("b")},
		{Name: "none", Method: "GET", URL: u + "?n=0", WantCode: 200, WantHeader: none, WantBody: list()},
		{Name: "past the end", Method: "GET", URL: u + "?last=z", WantCode: 200, WantHeader: none, WantBody: list()},
		{Name: "negative", Method: "GET", URL: u + "?n=-1", WantCode: 400, WantError: "PAGINATION_NUMBER_INVALID"},
		{Name: "empty", Method: "GET", URL: u + "?n=&last=", WantCode: 200, WantHeader: none, WantBody: list("a", "a-b", "a/b", "b")},
	})
}

// nextLink returns the URL of an answer's Link, "" without one.
func nextLink(t *testing.T, resp *http.Response) string {
	t.Helper()
	link := resp.Header.Get("Link")
	if link == "" {
		return ""
	}
	u, found := strings.CutSuffix(link, `>; rel="next"`)
	if !found || !strings.HasPrefix(u, "</v2/") {
		t.Fatalf("Link is %q", link)
	}
	return u[1:]
}

// manyTags is a registry with a number of tags, which can fail.
type manyTags struct {
	Registry
	total, fails int
	largest      int // largest n of a query
	queries      int
	failing      int // number of the query that fails; 0 for none
}

func tagName(i int) string { return fmt.Sprintf("v%06d", i) }

func (m *manyTags) Tags(_ context.Context, _, last string, n int) ([]string, error) {
	m.largest, m.queries = max(m.largest, n), m.queries+1
	from := 0
	if last != "" {
		fmt.Sscanf(last, "v%d", &from)
		from++
	}
	if m.fails > 0 && from >= m.fails || m.failing > 0 && m.queries == m.failing {
		return nil, fmt.Errorf("the disk is on fire")
	}
	var tags []string
	for i := from; i < min(from+n, m.total); i++ {
		tags = append(tags, tagName(i))
	}
	return tags, nil
}

// TestManyTags lists more tags than one query returns, also with numbers around the limits of a
// query and a page.
func TestManyTags(t *testing.T) {
	for _, total := range []int{0, 1, queryLimit - 1, queryLimit, queryLimit + 1, 2 * queryLimit, 3*queryLimit + 7, maxPage, maxPage + 1, 2*maxPage + 1} {
		registry := &manyTags{total: total}
		s := serveRegistry(t, registry, Options{})
		for _, query := range []string{"", "?n=100000", "?n=1500", "?n=1000", "?n=999"} {
			if total > 2*queryLimit && strings.HasSuffix(query, "9") {
				continue
			}
			var got []string
			for u := "/v2/a/tags/list" + query; u != ""; {
				resp, body := s.exchange(exchangeCase{Name: "page", Method: "GET", URL: u, WantCode: 200})
				var page tagNames
				if err := json.Unmarshal([]byte(body), &page); err != nil || page.Name != "a" || page.Tags == nil {
					t.Fatalf("%v: %.200s", err, body)
				}
				got = append(got, page.Tags...)
				u = nextLink(t, resp)
				if query == "" && u != "" {
					t.Error("a list without n has a Link")
				}
			}
			if len(got) != total || !slices.IsSorted(got) || len(slices.Compact(got)) != total {
				t.Errorf("%d tags, %q: got %d", total, query, len(got))
			}
		}
		if registry.largest > queryLimit+1 {
			t.Errorf("a query asked for %d tags", registry.largest)
		}
		before := registry.queries
		_, _ = s.exchange(exchangeCase{Name: "head", Method: "HEAD", URL: "/v2/a/tags/list", WantCode: 200, WantHeader: header{"Content-Type": "application/json"}})
		if n := registry.queries - before; n != 1 {
			t.Errorf("%d tags: HEAD took %d queries", total, n)
		}
	}
}

// TestFailingList has a list fail in the middle. The answer is cut and is not valid JSON.
func TestFailingList(t *testing.T) {
	s := serveRegistry(t, &manyTags{total: 5000, fails: 3000}, Options{})
	resp, err := http.Get("http://" + s.addr + "/v2/a/tags/list")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil || json.Valid(body) {
		t.Errorf("a list that failed is whole: %v, %.50s…", err, body)
	}
	s.log.await(`"route":"tags"`, `"cut":"the disk is on fire"`)
	s.exchange(exchangeCase{Name: "by pages", Method: "GET", URL: "/v2/a/tags/list?n=5000", WantCode: 500, WantError: "UNKNOWN"})
}

// changingTags is a registry whose tags change before a query.
type changingTags struct {
	Registry
	tags   []string
	before func(m *changingTags, query int)
	query  int
}

func (m *changingTags) Tags(_ context.Context, _, last string, n int) (tags []string, err error) {
	m.query++
	m.before(m, m.query)
	for _, tag := range m.tags {
		if tag > last && len(tags) < n {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// TestLongPageIsStreamed checks that a page of several queries is not held in memory. The header is
// sent when the end of the page is known, and later errors cut the answer.
func TestLongPageIsStreamed(t *testing.T) {
	const n = 4 * queryLimit
	registry := &manyTags{total: 2 * n, failing: n/queryLimit + 1 + 3}
	s := serveRegistry(t, registry, Options{})
	resp, err := http.Get("http://" + s.addr + "/v2/a/tags/list?n=" + strconv.Itoa(n))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil || json.Valid(body) || len(body) < 2*queryLimit*len(`"v000000",`) || nextLink(t, resp) == "" {
		t.Errorf("%d, %d bytes, %v", resp.StatusCode, len(body), err)
	}
}

// TestTagsMeanwhile deletes and adds tags while a page of several queries is sent. Tags that exist
// all the time are on exactly one page.
func TestTagsMeanwhile(t *testing.T) {
	const n, total = 1500, 3200
	for at := 1; at <= 6; at++ {
		registry := &changingTags{before: func(m *changingTags, query int) {
			if query != at {
				return
			}
			for _, i := range []int{0, 999, 1000, 1499, 1500, 1999} {
				m.tags = slices.DeleteFunc(m.tags, func(tag string) bool { return tag == tagName(i) })
			}
			m.tags = append(m.tags, tagName(500)+"x", tagName(1400)+"x", tagName(1499)+"x", tagName(3000)+"x")
			slices.Sort(m.tags)
		}}
		for i := range total {
			registry.tags = append(registry.tags, tagName(i))
		}
		s := serveRegistry(t, registry, Options{})
		var got []string
		for u := "/v2/a/tags/list?n=" + strconv.Itoa(n); u != ""; {
			resp, body := s.exchange(exchangeCase{Name: "page", Method: "GET", URL: u, WantCode: 200})
			var page tagNames
			if err := json.Unmarshal([]byte(body), &page); err != nil {
				t.Fatal(err)
			}
			got = append(got, page.Tags...)
			u = nextLink(t, resp)
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("change before query %d: the tags are not sorted", at)
		}
		for _, tag := range registry.tags {
			if !strings.HasSuffix(tag, "x") && !slices.Contains(got, tag) {
				t.Errorf("change before query %d: %s is missing", at, tag)
			}
		}
	}
}

var _ Registry = (*storage.Registry)(nil)

// manyRepositories is a registry with a number of repositories.
type manyRepositories struct {
	Registry
	names []string
}

func (m *manyRepositories) Repositories(_ context.Context, after, before string, n int) ([]string, error) {
	from, found := slices.BinarySearch(m.names, after)
	if found {
		from++
	}
	to := len(m.names)
	if before != "" {
		to, _ = slices.BinarySearch(m.names, before)
	}
	return m.names[from:max(from, min(to, from+n))], nil
}

// TestLongCatalogIsStreamed requests more repositories than one query returns. The page is
// streamed, and the Link leads to the others.
func TestLongCatalogIsStreamed(t *testing.T) {
	const n = 2500
	registry := &manyRepositories{}
	for i := range 2*n + 1 {
		registry.names = append(registry.names, fmt.Sprintf("%s/%06d", strings.Repeat("a", 200), i))
	}
	s := serveRegistry(t, registry, Options{})
	var got []string
	for u := "/v2/_catalog?n=" + strconv.Itoa(n); u != ""; {
		resp, body := s.exchange(exchangeCase{Name: "page", Method: "GET", URL: u, WantCode: 200})
		var page struct{ Repositories []string }
		if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Repositories) > n {
			t.Fatalf("%d repositories, %v", len(page.Repositories), err)
		}
		if streamed := resp.ContentLength < 0; streamed != (len(page.Repositories) == n) {
			t.Errorf("a page of %d has a Content-Length of %d", len(page.Repositories), resp.ContentLength)
		}
		got = append(got, page.Repositories...)
		u = nextLink(t, resp)
	}
	if !slices.Equal(got, registry.names) {
		t.Errorf("%d of %d repositories were listed", len(got), len(registry.names))
	}
}

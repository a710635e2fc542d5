package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// recordingRegistry is a registry and a policy that record their arguments.
type recordingRegistry struct {
	Registry
	t       *testing.T
	decided []string // repositories, in the order of the decisions
	served  string   // "repository element"
}

func (w *recordingRegistry) Decide(_ auth.Identity, _ netip.Addr, _ auth.Permission, repo string) auth.Decision {
	w.decided = append(w.decided, repo)
	return auth.Decision{Allowed: true}
}

func (w *recordingRegistry) View(auth.Identity, netip.Addr) auth.View { return auth.View{} }

func (w *recordingRegistry) AllowsAnonymous() bool { return true }

func (w *recordingRegistry) record(repo, element string) {
	w.served = repo + " " + element
	if err := manifest.CheckName(repo); err != nil {
		w.t.Errorf("storage was asked for %q: %v", repo, err)
	}
	if len(w.decided) == 0 || w.decided[len(w.decided)-1] != repo {
		w.t.Errorf("storage was asked for %q, the policy for %q", repo, w.decided)
	}
}

func (w *recordingRegistry) Manifest(_ context.Context, repo string, ref manifest.Reference) (storage.Manifest, error) {
	w.record(repo, ref.String())
	if again, err := manifest.ParseReference(ref.String()); err != nil || again != ref {
		w.t.Errorf("storage was asked for reference %q: %v", ref, err)
	}
	return storage.Manifest{}, storage.ErrManifestUnknown
}

func (w *recordingRegistry) Blob(_ context.Context, repo string, d digest.Digest) (storage.Blob, error) {
	w.record(repo, d.String())
	if _, err := manifest.ParseDigest(d.String()); err != nil {
		w.t.Error(err)
	}
	return storage.Blob{}, storage.ErrBlobUnknown
}

func (w *recordingRegistry) Upload(_ context.Context, _, repo, id string) (storage.Upload, error) {
	w.record(repo, id)
	return storage.Upload{ID: id}, nil
}

func (w *recordingRegistry) Tags(_ context.Context, repo, _ string, _ int) ([]string, error) {
	w.record(repo, "")
	return nil, storage.ErrNameUnknown
}

func (w *recordingRegistry) ReferrersExtent(_ context.Context, q storage.ReferrerQuery, _ digest.Digest, _, _ int) (storage.Extent, error) {
	w.record(q.Repo, q.Subject.String())
	return storage.Extent{}, nil
}

// FuzzPath requests any path. What reaches storage is well-formed, was decided by the policy, and
// is in the path. Paths are not redirected, and every error is JSON.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"/v2/", "/v2", "/v2/_catalog", "/v2/a/tags/list", "/v2/a/b/manifests/v1", "/v2/a/blobs/uploads/x", "/v2/a/blobs/uploads/",
		"/v2/a/manifests/manifests/v1", "/v2/a/blobs/sha256%3A" + strings.Repeat("0", 64), "/v2/a%2fb/manifests/v1", "/v2/a/manifests/..%2fb",
		"/v2/../a/manifests/v1", "//v2/a/manifests/v1", "/v2/a/./b/tags/list", "/v2/a/referrers/sha512:" + strings.Repeat("0", 128), "/v2/A/tags/list",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" || u.Opaque != "" || u.RawQuery != "" {
			return // net/http refuses it, or it is not only a path
		}
		w := &recordingRegistry{t: t}
		a := New(w, Options{Policy: w})
		r := httptest.NewRecorder()
		a.serve(r, &http.Request{Method: "GET", URL: u, Host: "localhost", Header: http.Header{}})
		if r.Code >= 300 && r.Code < 400 || r.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q is answered %d %v", path, r.Code, r.Header())
		}
		if r.Code >= 400 && u.Path != "/readyz" && (r.Header().Get("Content-Type") != "application/json" || !json.Valid(r.Body.Bytes())) {
			t.Errorf("%q is answered %d %q", path, r.Code, r.Body)
		}
		repo, element, found := strings.Cut(w.served, " ")
		if !found {
			return
		}
		if !strings.HasPrefix(path, "/v2/"+repo+"/") {
			t.Errorf("%q asks for %q", path, repo)
		}
		if last, err := url.PathUnescape(u.EscapedPath()[strings.LastIndexByte(u.EscapedPath(), '/')+1:]); err != nil || element != "" && element != last {
			t.Errorf("%q asks for %q", path, element)
		}
	})
}

// FuzzTemplate compares each template with the regular expression that says the same.
func FuzzTemplate(f *testing.F) {
	for _, path := range []string{
		"/v2/", "/v2", "/v2//", "/v2/_catalog", "/v2/a/tags/list", "/v2//tags/list", "/v2/a/tags/list/", "/v2/a/b/manifests/v1",
		"/v2/manifests/v1", "/v2//manifests/manifests/v1", "/v2/a/manifests/", "/v2/a/blobs/uploads", "/v2/a/blobs/uploads/",
		"/v2/a/blobs/uploads//", "/v2/a/blobs/uploads/blobs/uploads/x", "/v2/blobs/uploads/x", "/v2/a/blobs/x", "/livez", "/livez/", "",
	} {
		f.Add(path)
	}
	replacer := strings.NewReplacer("{name}", "(?P<name>.+)", "{element}", "(?P<element>[^/]+)", "{/}", "/?")
	expressions := map[string]*regexp.Regexp{}
	for _, row := range append(routes(), authRoutes()...) {
		expressions[row.path] = regexp.MustCompile("^" + replacer.Replace(row.path) + "$")
	}
	f.Fuzz(func(t *testing.T, path string) {
		if strings.Contains(path, "\n") { // which no escaped path has
			return
		}
		for form, expression := range expressions {
			var wantName, wantElement string
			m := expression.FindStringSubmatch(path)
			if i := expression.SubexpIndex("name"); m != nil && i > 0 {
				wantName = m[i]
			}
			if i := expression.SubexpIndex("element"); m != nil && i > 0 {
				wantElement = m[i]
			}
			name, element, ok := parseTemplate(form).match(path)
			if ok != (m != nil) || ok && (name != wantName || element != wantElement) {
				t.Errorf("%s of %q is %q, %q, %v; want %q, %q, %v", form, path, name, element, ok, wantName, wantElement, m != nil)
			}
		}
	})
}

// FuzzContentRange parses any range of a chunk, and formats valid ones again.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"0-0", "5-99", "bytes 0-9/10", "bytes=1-2", "bytes 0-9/*", "-1-2", "1--2", "9223372036854775807-9223372036854775807", "0x1-2", "+1-2", " 1-2", "1-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start, end, ok := parseContentRange(s)
		if !ok {
			return
		}
		if start < 0 || end < 0 || end-start+1 > 1<<62 {
			t.Errorf("%q is %d to %d", s, start, end)
		}
		for _, form := range []string{"%d-%d", "bytes %d-%d/*"} {
			again := fmt.Sprintf(form, start, end)
			if s2, e2, ok := parseContentRange(again); !ok || s2 != start || e2 != end {
				t.Errorf("%q is %d to %d, %q is %d to %d", s, start, end, again, s2, e2)
			}
		}
	})
}

// oneBlob is a registry with one blob.
type oneBlob struct {
	Registry
	content string
}

func (o oneBlob) Blob(context.Context, string, digest.Digest) (storage.Blob, error) {
	open := func(context.Context) (io.ReadSeekCloser, error) {
		r := strings.NewReader(o.content)
		return failingContent{r, r, io.NopCloser(nil)}, nil
	}
	return storage.NewBlob(digest.FromString(o.content), int64(len(o.content)), open), nil
}

// FuzzRange requests any range of a blob. A partial answer has the bytes in its Content-Range. An
// error is JSON and has the blob's size.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=1-", "bytes=-1", "bytes=0-1,3-4", "bytes=5-1", "bytes=99-", "bytes=--1", "bytes=", "lines=1-2", "bytes=0-9223372036854775808"} {
		f.Add(s, "0123456789")
	}
	f.Fuzz(func(t *testing.T, value, content string) {
		a := New(oneBlob{content: content}, Options{Policy: auth.Open{}})
		for _, method := range []string{"GET", "HEAD"} {
			r := httptest.NewRecorder()
			req := httptest.NewRequest(method, "/v2/a/blobs/"+sha256Of(content), nil)
			req.Header["Range"] = []string{value}
			a.serve(r, req)
			h := r.Header()
			switch r.Code {
			case http.StatusOK:
				if method == "GET" && r.Body.String() != content {
					t.Errorf("range %q of %q is %q", value, content, r.Body)
				}
			case http.StatusPartialContent:
				var from, to, size int
				if _, err := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); err != nil {
					if !strings.HasPrefix(h.Get("Content-Type"), "multipart/byteranges") {
						t.Errorf("range %q of %q is %v", value, content, h)
					}
					continue
				}
				if size != len(content) || method == "GET" && r.Body.String() != content[from:to+1] {
					t.Errorf("range %q of %q is %v %q", value, content, h, r.Body)
				}
			case http.StatusRequestedRangeNotSatisfiable:
				if h.Get("Content-Range") != "bytes */"+strconv.Itoa(len(content)) || method == "GET" && !json.Valid(r.Body.Bytes()) {
					t.Errorf("range %q of %q is refused with %v %q", value, content, h, r.Body)
				}
			default:
				t.Errorf("range %q of %q is answered %d", value, content, r.Code)
			}
		}
	})
}

// FuzzPages lists tags with any n and last. Following the Links returns each tag after last exactly
// once.
func FuzzPages(f *testing.F) {
	for _, q := range []string{"", "n=0", "n=1", "n=3&last=v000001", "n=1000000000000000000000", "last=%00", "n=-1", "n=2&last=%22%3E%3B", "last=v&n=1", "n=1&n=2", "n=%31"} {
		f.Add(q, uint16(7))
	}
	f.Fuzz(func(t *testing.T, query string, total uint16) {
		total %= 50
		a := New(&sortedTags{total: int(total)}, Options{Policy: auth.Open{}})
		var got []string
		values, err := url.ParseQuery(query)
		last := values.Get("last")
		n := values.Get("n")
		next := "/v2/a/tags/list?" + query
		for pages := 0; next != ""; pages++ {
			u, parseErr := url.ParseRequestURI(next)
			if parseErr != nil {
				if pages > 0 {
					t.Errorf("Link %q: %v", next, parseErr)
				}
				return
			}
			r := httptest.NewRecorder()
			a.serve(r, &http.Request{Method: "GET", URL: u, Host: "localhost", Header: http.Header{}})
			if r.Code == http.StatusBadRequest && pages == 0 {
				if u.RawQuery == "" || err == nil && len(values["n"]) < 2 && len(values["last"]) < 2 && n != "" && strings.Trim(n, "0123456789") == "" {
					t.Errorf("%q is refused: %s", query, r.Body)
				}
				return
			}
			var page tagNames
			if err := json.Unmarshal(r.Body.Bytes(), &page); err != nil || r.Code != http.StatusOK {
				t.Fatalf("%q is answered %d %q", next, r.Code, r.Body)
			}
			if limit, err := strconv.Atoi(n); err == nil && len(page.Tags) > limit {
				t.Errorf("%q has %d tags", next, len(page.Tags))
			}
			got = append(got, page.Tags...)
			next = nextLink(t, r.Result())
		}
		var want []string
		for i := range int(total) {
			if tagName(i) > last {
				want = append(want, tagName(i))
			}
		}
		if strings.Trim(n, "0") == "" && n != "" {
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: tags %v, want %v", query, got, want)
		}
	})
}

// sortedTags is a registry that lists tags.
type sortedTags struct {
	Registry
	total int
}

func (s *sortedTags) Tags(_ context.Context, _, last string, n int) ([]string, error) {
	var tags []string
	for i := 0; i < s.total && len(tags) < n; i++ {
		if tagName(i) > last {
			tags = append(tags, tagName(i))
		}
	}
	return tags, nil
}

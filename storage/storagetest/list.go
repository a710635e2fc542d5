package storagetest

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage"
)

// wantNames checks a list of names.
func (s *suite) wantNames(got []string, err error, want ...string) {
	s.Helper()
	s.must(err)
	if !slices.Equal(got, want) {
		s.Fatalf("the list is %q, want %q", got, want)
	}
}

// wantTags checks a page of the tags of a repository.
func (s *suite) wantTags(repo, last string, n int, want ...string) {
	s.Helper()
	got, err := s.Tags(s.Context(), repo, last, n)
	s.wantNames(got, err, want...)
}

// wantRepositories checks a page of the repositories.
func (s *suite) wantRepositories(after, before string, n int, want ...string) {
	s.Helper()
	got, err := s.Repositories(s.Context(), after, before, n)
	s.wantNames(got, err, want...)
}

// testTags reads tags in pages of each size, in byte order.
func testTags(s *suite) {
	names := []string{"1.10", "1.9", "B", "Z", "_x", "a", "b", "b-1", "b.1", "b0", "ba"}
	s.push("a", "config")
	s.put("a", s.image("", "config"), "b", "ba", "a", "Z", "1.9")
	s.put("a", s.image("other", "config"), "b-1", "_x", "B", "b0", "b.1", "1.10")
	for n := 1; n <= len(names)+1; n++ {
		var got []string
		for last := ""; ; last = got[len(got)-1] {
			page, err := s.Tags(s.Context(), "a", last, n)
			s.must(err)
			if len(page) > n || len(page) > 0 && page[0] <= last {
				s.Fatalf("the page of %d tags after %q is %q", n, last, page)
			}
			got = append(got, page...)
			if len(page) < n {
				break
			}
		}
		s.wantNames(got, nil, names...)
	}
	s.wantTags("a", "b.0", 2, "b.1", "b0") // last need not exist
	s.wantTags("a", "ba", 9)
	s.push("blobs", "config")
	for _, repo := range []string{"none", "blobs", ""} {
		_, err := s.Tags(s.Context(), repo, "", 9)
		s.want(storage.ErrNameUnknown, err)
	}
}

// testRepositories reads pages of the repositories that ever had a manifest.
func testRepositories(s *suite) {
	ctx := s.Context()
	for _, repo := range []string{"z", "a/b", "a-b", "a"} {
		s.push(repo, "config")
		s.put(repo, s.image("", "config"), "1")
	}
	s.push("b", "config")
	s.session("c", "hello")
	for _, page := range []struct {
		after, before string
		n             int
		want          []string
	}{
		{"", "", 9, []string{"a", "a-b", "a/b", "z"}},
		{"", "", 4, []string{"a", "a-b", "a/b", "z"}},
		{"", "", 3, []string{"a", "a-b", "a/b"}},
		{"a", "", 2, []string{"a-b", "a/b"}},
		{"a", "z", 9, []string{"a-b", "a/b"}},
		{"a", "a/b", 9, []string{"a-b"}},
		{"", "a/", 1, []string{"a"}},
		{"a", "a-", 9, nil},
		{"b", "", 9, []string{"z"}},
		{"z", "", 9, nil},
	} {
		s.wantRepositories(page.after, page.before, page.n, page.want...)
	}
	s.must(s.DeleteManifest(ctx, alice, "z", s.image("", "config").Digest))
	s.must(s.DeleteBlob(ctx, alice, "z", digest.FromString("config")))
	s.wantRepositories("a/b", "", 9, "z")
	s.wantTags("z", "", 9)
}

// testListedSince follows the list of repositories as it grows.
func testListedSince(s *suite) {
	ctx := s.Context()
	version, err := s.ListVersion(ctx)
	s.must(err)
	first := version
	list := func(repo string, grows bool) {
		s.Helper()
		s.push(repo, "config")
		s.put(repo, s.image(repo, "config"), "1")
		now, err := s.ListVersion(ctx)
		s.must(err)
		if grows != (now > version) {
			s.Fatalf("after a manifest in %s the version is %d, before it was %d", repo, now, version)
		}
		version = now
	}
	names := []string{"z", "a/b", "m", "a"}
	for _, repo := range names {
		list(repo, true)
	}
	list("a", false)
	s.push("blobs", "config")
	s.wantListedSince(first, 9, version, names...)
	s.wantListedSince(first, 4, version, names...)
	var got []string
	for since := first; ; {
		page, now, err := s.ListedSince(ctx, since, 3)
		s.must(err)
		if len(page) > 0 && now <= since {
			s.Fatalf("the version after %q is %d, after %d", page, now, since)
		}
		got, since = append(got, page...), now
		if len(page) < 3 {
			break
		}
	}
	s.wantNames(got, nil, names...)
	s.wantListedSince(version, 9, version)
	before := version
	list("new", true)
	s.wantListedSince(before, 9, version, "new")
}

// wantListedSince checks which repositories were listed after a version, and the version that is
// returned with them.
func (s *suite) wantListedSince(since int64, n int, until int64, want ...string) {
	s.Helper()
	got, version, err := s.ListedSince(s.Context(), since, n)
	s.wantNames(got, err, want...)
	if version != until {
		s.Fatalf("the version after %q is %d, want %d", got, version, until)
	}
}

package storagetest

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// listReferrers reads an extent of a list of referrers page by page, and checks its order and
// limits.
func (s *suite) listReferrers(q storage.ReferrerQuery, last digest.Digest, n, bytes int) (all []manifest.Descriptor, e storage.Extent) {
	s.Helper()
	e, err := s.ReferrersExtent(s.Context(), q, last, n, bytes)
	s.must(err)
	length := 0
	for {
		page, err := s.Referrers(s.Context(), q, last, e)
		s.must(err)
		if len(page) == 0 {
			break
		}
		if size := s.lengthOf(page); size > 64<<10 && len(page) > 1 {
			s.Errorf("a page of %d descriptors has %d bytes", len(page), size)
		}
		for _, d := range page {
			if d.Digest <= last {
				s.Fatalf("%s comes after %s", d.Digest, last)
			}
			last = d.Digest
		}
		length += s.lengthOf(page) + len(page)
		all = append(all, page...)
	}
	if last != e.End && e.End != "" || len(all) > n || length > bytes && len(all) > 1 {
		s.Errorf("%d descriptors up to %s of %d bytes; the extent is %+v, for at most %d of %d bytes", len(all), last, length, e, n, bytes)
	}
	return all, e
}

// lengthOf returns the length of the descriptors' JSON, without commas.
func (s *suite) lengthOf(descs []manifest.Descriptor) (n int) {
	s.Helper()
	for _, d := range descs {
		text, err := d.JSON()
		s.must(err)
		n += len(text)
	}
	return n
}

func digestsOf(descs []manifest.Descriptor) (digests []digest.Digest) {
	for _, d := range descs {
		digests = append(digests, d.Digest)
	}
	return digests
}

// testReferrers lists the referrers of a subject that the repository does not have.
func testReferrers(s *suite) {
	s.push("a", "config")
	subject := digest.FromString("subject")
	q := storage.ReferrerQuery{Repo: "a", Subject: subject}
	if all, e := s.listReferrers(q, "", 10, math.MaxInt); len(all) != 0 || e.End != "" || e.More {
		s.Errorf("before there is any: %+v, %+v", all, e)
	}
	var want []digest.Digest
	for i := range 5 {
		m := s.putReferrer("a", subject, fmt.Sprintf("application/x%d", i), fmt.Sprintf(`{"note":"<%d>"}`, i))
		want = append(want, m.Digest)
	}
	slices.Sort(want)
	all, e := s.listReferrers(q, "", math.MaxInt, math.MaxInt)
	if got := digestsOf(all); !slices.Equal(got, want) || e.More {
		s.Errorf("referrers %v, want %v; %+v", got, want, e)
	}
	for _, d := range all {
		note := strings.TrimPrefix(d.ArtifactType, "application/x")
		if string(d.Annotations) != `{"note":"<`+note+`>"}` || d.MediaType != manifest.MediaTypeImage || d.Size == 0 {
			s.Errorf("a referrer of type %s is %+v with annotations %s", d.ArtifactType, d, d.Annotations)
		}
	}
	typed := q
	typed.ArtifactType = "application/x3"
	if got, e := s.listReferrers(typed, "", 2, math.MaxInt); len(got) != 1 || e.More || got[0].ArtifactType != typed.ArtifactType {
		s.Errorf("filtered: %+v, %+v", got, e)
	}
	for _, q := range []storage.ReferrerQuery{
		{Repo: "b", Subject: subject}, {Repo: "a", Subject: want[0]}, {Repo: "a", Subject: subject, ArtifactType: "application/x"},
	} {
		if got, e := s.listReferrers(q, "", 2, math.MaxInt); len(got) != 0 || e.More || e.End != "" {
			s.Errorf("%+v has referrers %+v, %+v", q, got, e)
		}
	}
	s.must(s.DeleteManifest(s.Context(), alice, "a", want[2]))
	all, _ = s.listReferrers(q, "", 10, math.MaxInt)
	if got := digestsOf(all); !slices.Equal(got, slices.Delete(want, 2, 3)) {
		s.Errorf("after one was deleted the referrers are %v, want %v", got, want)
	}
}

// testReferrersExtent asks for extents that are limited by number and by length, at and around the
// limits at which one more referrer fits.
func testReferrersExtent(s *suite) {
	s.push("a", "config")
	q := storage.ReferrerQuery{Repo: "a", Subject: digest.FromString("subject"), ArtifactType: "application/x"}
	for i := range 7 {
		s.putReferrer("a", q.Subject, q.ArtifactType, fmt.Sprintf(`{"note":%q}`, strings.Repeat("x", i*100)))
	}
	all, _ := s.listReferrers(q, "", math.MaxInt, math.MaxInt)
	for n := 1; n <= 8; n++ {
		fits := min(n, 7)
		if got, e := s.listReferrers(q, "", n, math.MaxInt); len(got) != fits || e.More != (fits < 7) {
			s.Errorf("at most %d: %d, %+v", n, len(got), e)
		}
		length := s.lengthOf(all[:fits]) + fits // commas
		if got, e := s.listReferrers(q, "", math.MaxInt, length); len(got) != fits || e.More != (fits < 7) {
			s.Errorf("%d just fit: %d, %+v", fits, len(got), e)
		}
		if got, e := s.listReferrers(q, "", math.MaxInt, length-1); len(got) != max(fits-1, 1) || e.More != (len(got) < 7) {
			s.Errorf("%d do not fit by one byte: %d, %+v", fits, len(got), e)
		}
	}
	if got, e := s.listReferrers(q, "", 1, 0); len(got) != 1 || !e.More {
		s.Errorf("one fits always: %d, %+v", len(got), e)
	}
	var following []digest.Digest
	var e storage.Extent
	for range 3 {
		var page []manifest.Descriptor
		page, e = s.listReferrers(q, e.End, 3, math.MaxInt)
		following = append(following, digestsOf(page)...)
	}
	if !slices.Equal(following, digestsOf(all)) || e.More {
		s.Errorf("three by three: %v and %+v, want %v", following, e, digestsOf(all))
	}
}

// testReferrersPages checks that a list of large descriptors is read in small pages.
func testReferrersPages(s *suite) {
	s.push("a", "config")
	q := storage.ReferrerQuery{Repo: "a", Subject: digest.FromString("subject")}
	for i := range 4 {
		s.putReferrer("a", q.Subject, "application/x", fmt.Sprintf(`{"note":"%d%s"}`, i, strings.Repeat("<", 30_000)))
		s.putReferrer("a", q.Subject, "application/x", fmt.Sprintf(`{"note":"%d%s"}`, i, strings.Repeat("<", 65_000)))
	}
	if all, e := s.listReferrers(q, "", math.MaxInt, math.MaxInt); len(all) != 8 || e.More {
		s.Errorf("%d referrers, %+v", len(all), e)
	}
	if all, e := s.listReferrers(q, "", math.MaxInt, 70_000); len(all) == 0 || !e.More {
		s.Errorf("%d referrers, %+v", len(all), e)
	}
}

// testLargeAnnotations checks that annotations of more than 64 KiB are kept in the manifest and
// left out of lists.
func testLargeAnnotations(s *suite) {
	s.push("a", "config")
	subject := digest.FromString("subject")
	const overhead = len(`{"note":""}`)
	for _, c := range []struct {
		length int
		listed bool
	}{{64<<10 - overhead, true}, {64<<10 - overhead + 1, false}, {4 << 20, false}} {
		q := storage.ReferrerQuery{Repo: "a", Subject: subject, ArtifactType: fmt.Sprintf("application/x%d", c.length)}
		annotations := `{"note":"` + strings.Repeat("<", c.length) + `"}`
		m := s.putReferrer("a", subject, q.ArtifactType, annotations)
		all, _ := s.listReferrers(q, "", 10, math.MaxInt)
		want := json.RawMessage(nil)
		if c.listed {
			want = json.RawMessage(annotations)
		}
		if len(all) != 1 || string(all[0].Annotations) != string(want) || all[0].Size != int64(len(m.Payload)) {
			s.Errorf("annotations of %d bytes: %d referrers, %.50s", c.length+overhead, len(all), all[0].Annotations)
		}
		stored, err := s.Manifest(s.Context(), "a", byDigest(m.Digest))
		s.must(err)
		payload, err := stored.Payload(s.Context())
		s.must(err)
		if string(payload) != string(m.Payload) {
			s.Errorf("a manifest with annotations of %d bytes is not what was pushed", c.length+overhead)
		}
	}
}

// testReferrersMeanwhile deletes and adds referrers between the extent and its pages.
func testReferrersMeanwhile(s *suite) {
	ctx := s.Context()
	s.push("a", "config")
	q := storage.ReferrerQuery{Repo: "a", Subject: digest.FromString("subject")}
	put := func(i int) { s.putReferrer("a", q.Subject, "application/x", fmt.Sprintf(`{"note":"%d"}`, i)) }
	for i := range 6 {
		put(i)
	}
	all, _ := s.listReferrers(q, "", math.MaxInt, math.MaxInt)
	was := digestsOf(all)
	e, err := s.ReferrersExtent(ctx, q, "", 5, math.MaxInt)
	s.must(err)
	for i := range 20 {
		put(100 + i)
	}
	s.must(s.DeleteManifest(ctx, alice, "a", was[1]))
	s.must(s.DeleteManifest(ctx, alice, "a", was[4])) // the end of the extent
	page, err := s.Referrers(ctx, q, "", e)
	s.must(err)
	if want := []digest.Digest{was[0], was[2], was[3]}; !slices.Equal(digestsOf(page), want) {
		s.Errorf("got %v, want %v", digestsOf(page), want)
	}
	page, err = s.Referrers(ctx, q, was[3], e)
	s.must(err)
	if len(page) != 0 {
		s.Errorf("after the end there are %v", digestsOf(page))
	}
	if now, _ := s.listReferrers(q, "", math.MaxInt, math.MaxInt); len(now) != 24 {
		s.Errorf("a new list has %d, want 24", len(now))
	}
}

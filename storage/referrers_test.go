package storage

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

// refer puts an artifact that refers to a digest, with annotations as JSON.
func (w *world) refer(repo string, subject digest.Digest, artifactType, annotations string) *manifest.Manifest {
	w.t.Helper()
	m := w.image("", "config")
	text := strings.Replace(string(m.Payload), `{"note":""}`, annotations, 1)
	text = strings.TrimSuffix(text, "}") + fmt.Sprintf(`,"artifactType":%q,"subject":{"mediaType":%q,"digest":%q,"size":1}}`,
		artifactType, m.MediaType, subject)
	r := w.parse(m.MediaType, []byte(text))
	w.put(repo, r)
	return r
}

// list reads a list of referrers, page by page, and checks what holds for every one.
func (w *world) list(q ReferrerQuery, last digest.Digest, n, bytes int) (all []manifest.Descriptor, e Extent) {
	w.t.Helper()
	e, err := w.ReferrersExtent(w.t.Context(), q, last, n, bytes)
	w.must(err)
	length := 0
	for {
		page, err := w.Referrers(w.t.Context(), q, last, e)
		w.must(err)
		if len(page) == 0 {
			break
		}
		if size := lengthOf(w.t, page); size > 64<<10 && len(page) > 1 {
			w.t.Errorf("a page of %d descriptors has %d bytes", len(page), size)
		}
		for _, d := range page {
			if d.Digest <= last {
				w.t.Errorf("%s comes after %s", d.Digest, last)
			}
			last = d.Digest
		}
		length += lengthOf(w.t, page) + len(page)
		all = append(all, page...)
	}
	if last != e.End && e.End != "" || len(all) > n || length > bytes && len(all) > 1 {
		w.t.Errorf("%d descriptors up to %s of %d bytes; the extent is %+v, for at most %d of %d bytes", len(all), last, length, e, n, bytes)
	}
	return all, e
}

// lengthOf returns the length of descriptors' JSON, without commas.
func lengthOf(t *testing.T, descs []manifest.Descriptor) (n int) {
	t.Helper()
	for _, d := range descs {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
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

func TestReferrers(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "config")
		subject := digest.FromString("subject")
		q := ReferrerQuery{Repo: "a", Subject: subject}
		if all, e := w.list(q, "", 10, math.MaxInt); len(all) != 0 || e.End != "" || e.More {
			t.Errorf("before there is any: %+v, %+v", all, e)
		}
		var want []digest.Digest
		for i := range 5 {
			m := w.refer("a", subject, fmt.Sprintf("application/x%d", i), fmt.Sprintf(`{"note":"<%d>"}`, i))
			want = append(want, m.Digest)
		}
		slices.Sort(want)
		all, e := w.list(q, "", math.MaxInt, math.MaxInt)
		if got := digestsOf(all); !slices.Equal(got, want) || e.More {
			t.Errorf("referrers %v, want %v; %+v", got, want, e)
		}
		for _, d := range all {
			note := strings.TrimPrefix(d.ArtifactType, "application/x")
			if string(d.Annotations) != `{"note":"<`+note+`>"}` || d.MediaType != manifest.MediaTypeImage || d.Size == 0 {
				t.Errorf("a referrer of type %s is %+v with annotations %s", d.ArtifactType, d, d.Annotations)
			}
		}
		typed := q
		typed.ArtifactType = "application/x3"
		if got, e := w.list(typed, "", 2, math.MaxInt); len(got) != 1 || e.More || got[0].ArtifactType != typed.ArtifactType {
			t.Errorf("filtered: %+v, %+v", got, e)
		}
		if got, _ := w.list(ReferrerQuery{Repo: "b", Subject: subject}, "", 2, math.MaxInt); len(got) != 0 {
			t.Errorf("another repository has referrers %+v", got)
		}
	})
}

// TestReferrersExtent asks for parts of a list that are bounded by number and by length,
// around the numbers where one more just fits.
func TestReferrersExtent(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "config")
		q := ReferrerQuery{Repo: "a", Subject: digest.FromString("subject"), ArtifactType: "application/x"}
		for i := range 7 {
			w.refer("a", q.Subject, q.ArtifactType, fmt.Sprintf(`{"note":%q}`, strings.Repeat("x", i*100)))
		}
		all, _ := w.list(q, "", math.MaxInt, math.MaxInt)
		for n := 1; n <= 8; n++ {
			fits := min(n, 7)
			if got, e := w.list(q, "", n, math.MaxInt); len(got) != fits || e.More != (fits < 7) {
				t.Errorf("at most %d: %d, %+v", n, len(got), e)
			}
			length := lengthOf(t, all[:fits]) + fits // commas
			if got, e := w.list(q, "", math.MaxInt, length); len(got) != fits || e.More != (fits < 7) {
				t.Errorf("%d just fit: %d, %+v", fits, len(got), e)
			}
			if got, e := w.list(q, "", math.MaxInt, length-1); len(got) != max(fits-1, 1) || e.More != (len(got) < 7) {
				t.Errorf("%d do not fit by one byte: %d, %+v", fits, len(got), e)
			}
		}
		if got, e := w.list(q, "", 1, 0); len(got) != 1 || !e.More {
			t.Errorf("one fits always: %d, %+v", len(got), e)
		}
		var following []digest.Digest
		for e := (Extent{More: true}); e.More; {
			var page []manifest.Descriptor
			page, e = w.list(q, e.End, 3, math.MaxInt)
			following = append(following, digestsOf(page)...)
		}
		if !slices.Equal(following, digestsOf(all)) {
			t.Errorf("three by three: %v, want %v", following, digestsOf(all))
		}
	})
}

// TestReferrersPages: a list of large descriptors is read in small pages.
func TestReferrersPages(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "config")
		q := ReferrerQuery{Repo: "a", Subject: digest.FromString("subject")}
		for i := range 4 {
			w.refer("a", q.Subject, "application/x", fmt.Sprintf(`{"note":"%d%s"}`, i, strings.Repeat("<", 30_000)))
			w.refer("a", q.Subject, "application/x", fmt.Sprintf(`{"note":"%d%s"}`, i, strings.Repeat("<", 65_000)))
		}
		if all, e := w.list(q, "", math.MaxInt, math.MaxInt); len(all) != 8 || e.More {
			t.Errorf("%d referrers, %+v", len(all), e)
		}
		if all, e := w.list(q, "", math.MaxInt, 70_000); len(all) == 0 || !e.More {
			t.Errorf("%d referrers, %+v", len(all), e)
		}
	})
}

// TestLargeAnnotations: annotations of more than 64 KiB are in the manifest, byte for
// byte, and not in lists.
func TestLargeAnnotations(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "config")
		subject := digest.FromString("subject")
		const overhead = len(`{"note":""}`)
		for _, c := range []struct {
			length int
			listed bool
		}{{64<<10 - overhead, true}, {64<<10 - overhead + 1, false}, {4 << 20, false}} {
			q := ReferrerQuery{Repo: "a", Subject: subject, ArtifactType: fmt.Sprintf("application/x%d", c.length)}
			annotations := `{"note":"` + strings.Repeat("<", c.length) + `"}`
			m := w.refer("a", subject, q.ArtifactType, annotations)
			all, _ := w.list(q, "", 10, math.MaxInt)
			want := json.RawMessage(nil)
			if c.listed {
				want = json.RawMessage(annotations)
			}
			if len(all) != 1 || string(all[0].Annotations) != string(want) || all[0].Size != int64(len(m.Payload)) {
				t.Errorf("annotations of %d bytes: %d referrers, %.50s", c.length+overhead, len(all), all[0].Annotations)
			}
			stored, err := w.Manifest(t.Context(), "a", byDigest(m.Digest))
			w.must(err)
			payload, err := stored.Payload(t.Context())
			w.must(err)
			if string(payload) != string(m.Payload) {
				t.Errorf("a manifest with annotations of %d bytes is not what was pushed", c.length+overhead)
			}
		}
	})
}

// TestReferrersMeanwhile deletes and adds referrers between the pages of a list.
func TestReferrersMeanwhile(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		w.push("a", "config")
		q := ReferrerQuery{Repo: "a", Subject: digest.FromString("subject")}
		put := func(i int) { w.refer("a", q.Subject, "application/x", fmt.Sprintf(`{"note":"%d"}`, i)) }
		for i := range 6 {
			put(i)
		}
		all, _ := w.list(q, "", math.MaxInt, math.MaxInt)
		was := digestsOf(all)
		e, err := w.ReferrersExtent(ctx, q, "", 5, math.MaxInt)
		w.must(err)
		for i := range 20 {
			put(100 + i)
		}
		w.must(w.DeleteManifest(ctx, "", "a", was[1]))
		w.must(w.DeleteManifest(ctx, "", "a", was[4])) // where the extent ends
		page, err := w.Referrers(ctx, q, "", e)
		w.must(err)
		if want := []digest.Digest{was[0], was[2], was[3]}; !slices.Equal(digestsOf(page), want) {
			t.Errorf("got %v, want %v", digestsOf(page), want)
		}
		page, err = w.Referrers(ctx, q, was[3], e)
		w.must(err)
		if len(page) != 0 {
			t.Errorf("after the end there are %v", digestsOf(page))
		}
		if now, _ := w.list(q, "", math.MaxInt, math.MaxInt); len(now) != 24 {
			t.Errorf("a new list has %d, want 24", len(now))
		}
	})
}

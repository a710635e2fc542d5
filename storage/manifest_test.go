package storage

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

func TestManifest(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		w.push("a", "config")
		m := w.image("", "config", "layer")
		err := w.PutManifest(ctx, "", "a", m, []string{"1"}, Condition{})
		w.want(ErrManifestBlobUnknown, err)
		var detailed *manifest.Error
		if !errors.As(err, &detailed) || !strings.Contains(strings.ToLower(jsonOf(t, detailed.Detail)), digest.FromString("layer").String()) {
			t.Errorf("the missing layer is not in the detail: %v", err)
		}
		names, err := w.Repositories(ctx, "", "", 10)
		w.must(err)
		if len(names) != 0 {
			t.Errorf("a refused manifest made the repository: %v", names)
		}
		w.push("a", "layer")
		w.put("a", m, "1", "2")
		for _, ref := range []manifest.Reference{tag("1"), tag("2"), byDigest(m.Digest)} {
			for range 2 { // from the row and from the cache
				got, err := w.Manifest(ctx, "a", ref)
				w.must(err)
				payload, err := got.Payload(ctx)
				w.must(err)
				if string(payload) != string(m.Payload) || got.MediaType != m.MediaType || got.Digest != m.Digest || got.Size != int64(len(m.Payload)) {
					t.Fatalf("%v is %+v %q", ref, got, payload)
				}
			}
		}
		for _, ref := range []manifest.Reference{tag("3"), byDigest(digest.FromString("x"))} {
			_, err := w.Manifest(ctx, "a", ref)
			w.want(ErrManifestUnknown, err)
		}
		_, err = w.Manifest(ctx, "b", tag("1"))
		w.want(ErrManifestUnknown, err)
	})
}

func TestWrongSizeInDescriptor(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "config")
		m := w.image("", "config")
		text := strings.Replace(string(m.Payload), `"size":6`, `"size":7`, 1)
		w.want(manifest.ErrManifestInvalid, w.PutManifest(t.Context(), "", "a", w.parse(m.MediaType, []byte(text)), nil, Condition{}))
	})
}

func TestDeletes(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		layer, config := w.push("a", "layer"), w.push("a", "config")
		child := w.image("", "config", "layer")
		w.put("a", child, "child")
		index := w.index(child)
		w.put("a", index, "index", "latest")

		w.want(ErrDenied, w.DeleteBlob(ctx, "", "a", layer))
		w.want(ErrDenied, w.DeleteManifest(ctx, "", "a", child.Digest))
		w.must(w.DeleteTag(ctx, "", "a", "index", Condition{}))
		w.want(ErrManifestUnknown, w.DeleteTag(ctx, "", "a", "index", Condition{}))
		w.want(ErrManifestUnknown, w.DeleteTag(ctx, "", "b", "index", Condition{}))
		w.must(w.DeleteManifest(ctx, "", "a", index.Digest))
		_, err := w.Manifest(ctx, "a", tag("latest"))
		w.want(ErrManifestUnknown, err)
		w.want(ErrManifestUnknown, w.DeleteManifest(ctx, "", "a", index.Digest))
		w.want(ErrManifestUnknown, w.DeleteManifest(ctx, "", "b", index.Digest))
		w.must(w.DeleteManifest(ctx, "", "a", child.Digest))
		w.must(w.DeleteBlob(ctx, "", "a", layer))
		w.want(ErrBlobUnknown, w.DeleteBlob(ctx, "", "a", layer))
		w.want(ErrBlobUnknown, w.DeleteBlob(ctx, "", "b", layer))
		_, err = w.Blob(ctx, "a", layer)
		w.want(ErrBlobUnknown, err)
		_, err = w.Blob(ctx, "a", config)
		w.must(err)
		tags, err := w.Tags(ctx, "a", "", 10)
		w.must(err)
		if len(tags) != 0 {
			t.Errorf("tags remain: %v", tags)
		}
		names, err := w.Repositories(ctx, "", "", 10)
		w.must(err)
		if !slices.Equal(names, []string{"a"}) {
			t.Errorf("the emptied repository is not listed: %v", names)
		}
	})
}

func TestMount(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		d := w.push("private/a", "hello")
		_, err := w.Mount(ctx, "", "c", d, "b")
		w.want(ErrBlobUnknown, err)
		_, err = w.Mount(ctx, "", "c", digest.FromString("x"), "private/a")
		w.want(ErrBlobUnknown, err)
		_, err = w.Blob(ctx, "c", d)
		w.want(ErrBlobUnknown, err)
		for repo, from := range map[string]string{"b": "private/a", "c": "private/a", "private/a": "private/a"} {
			b, err := w.Mount(ctx, "", repo, d, from)
			w.must(err)
			if b.Size != 5 {
				t.Errorf("mounted %+v", b)
			}
			w.wantBlob(repo, "hello")
		}
		for n, want := range map[int]int{1: 1, 2: 2, 10: 3} {
			repos, err := w.BlobRepositories(ctx, d, n)
			w.must(err)
			if len(repos) != want || repos[0] != "private/a" {
				t.Errorf("%d repositories have the blob: %q", n, repos)
			}
		}
		w.must(w.DeleteBlob(ctx, "", "private/a", d))
		w.wantBlob("b", "hello")
		repos, err := w.BlobRepositories(ctx, digest.FromString("x"), 10)
		w.must(err)
		if len(repos) > 0 {
			t.Errorf("a blob that is nowhere is in %q", repos)
		}
		w.settle(1)
	})
}

func TestConditions(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		w.push("a", "config")
		one, two := w.image("1", "config"), w.image("2", "config")
		put := func(m *manifest.Manifest, c Condition) error {
			return w.PutManifest(ctx, "", "a", m, []string{"t"}, c)
		}
		is := func(m *manifest.Manifest) []digest.Digest { return []digest.Digest{m.Digest} }
		w.want(ErrPrecondition, put(one, Condition{IfMatch: is(one)}))
		w.want(ErrPrecondition, put(one, Condition{IfMatchAny: true}))
		w.must(put(one, Condition{IfNoneMatch: true}))
		w.want(ErrPrecondition, put(two, Condition{IfNoneMatch: true}))
		w.want(ErrPrecondition, put(two, Condition{IfMatch: is(two)}))
		w.want(ErrPrecondition, put(two, Condition{IfMatch: []digest.Digest{}}))
		if _, err := w.Manifest(ctx, "a", byDigest(two.Digest)); !errors.Is(err, ErrManifestUnknown) {
			t.Errorf("a refused manifest was stored: %v", err)
		}
		w.must(put(two, Condition{IfMatch: is(one)}))
		w.must(put(two, Condition{IfMatchAny: true}))
		w.want(ErrPrecondition, w.DeleteTag(ctx, "", "a", "t", Condition{IfMatch: is(one)}))
		w.must(w.DeleteTag(ctx, "", "a", "t", Condition{IfMatch: is(two)}))
		w.want(ErrPrecondition, w.DeleteTag(ctx, "", "a", "t", Condition{IfMatchAny: true}))
	})
}

func TestSparse(t *testing.T) {
	for _, allow := range []AllowMissing{MissingNone, MissingIndex, MissingAll} {
		each(t, Options{AllowMissing: allow}, func(w *world) {
			ctx := t.Context()
			image := w.image("", "config", "layer")
			index := w.index(image)
			check := func(err error, allowed bool) {
				t.Helper()
				if !allowed {
					w.want(ErrManifestBlobUnknown, err)
				} else {
					w.must(err)
				}
			}
			check(w.PutManifest(ctx, "", "a", index, nil, Condition{}), allow != MissingNone)
			check(w.PutManifest(ctx, "", "a", image, nil, Condition{}), allow == MissingAll)
			if allow != MissingAll {
				return
			}
			layer := digest.FromString("layer")
			_, err := w.Blob(ctx, "a", layer)
			w.want(ErrBlobUnknown, err)
			w.want(ErrBlobUnknown, w.DeleteBlob(ctx, "", "a", layer))
			w.push("a", "layer")
			w.want(ErrDenied, w.DeleteBlob(ctx, "", "a", layer))
			w.want(ErrDenied, w.DeleteManifest(ctx, "", "a", image.Digest))
			w.must(w.DeleteManifest(ctx, "", "a", index.Digest))
			w.must(w.DeleteManifest(ctx, "", "a", image.Digest))
			w.must(w.DeleteBlob(ctx, "", "a", layer))
			// Nothing waits any more: the same digest can come with another promise.
			w.put("a", w.parse(image.MediaType, []byte(strings.Replace(string(image.Payload), `"size":5`, `"size":9`, 1))))
			w.push("a", "layer")
			if !strings.Contains(w.log.String(), "promised=9 size=5") {
				t.Errorf("another size than promised is not in the log: %s", w.log)
			}
			w.wantBlob("a", "layer")
		})
	}
}

func TestForeignLayer(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "config")
		m := w.image("", "config", "layer")
		text := strings.Replace(string(m.Payload), `"size":5`, `"size":5,"urls":["https://example.com/layer"]`, 1)
		w.put("a", w.parse(m.MediaType, []byte(text)))
	})
}

// BuildKit's caches list layers in an index.
func TestIndexOfBlobs(t *testing.T) {
	each(t, Options{}, func(w *world) {
		layer := w.push("a", "layer")
		text := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` +
			layer.String() + `","size":5}]}`
		m := w.parse(manifest.MediaTypeIndex, []byte(text))
		w.put("a", m, "cache")
		w.want(ErrDenied, w.DeleteBlob(t.Context(), "", "a", layer))
		w.must(w.DeleteManifest(t.Context(), "", "a", m.Digest))
		w.must(w.DeleteBlob(t.Context(), "", "a", layer))
	})
}

func TestListsAreInByteOrder(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		names := []string{"B", "_x", "a", "b-1", "b.1", "b0"}
		for _, repo := range []string{"z", "a/b", "a-b", "a"} {
			w.push(repo, "config")
			w.put(repo, w.image("", "config"), names...)
		}
		var got []string
		for last := ""; ; {
			page, err := w.Tags(ctx, "a", last, 4)
			w.must(err)
			got = append(got, page...)
			if len(page) < 4 {
				break
			}
			last = page[3]
		}
		if !slices.Equal(got, names) {
			t.Errorf("tags %v, want %v", got, names)
		}
		for _, c := range []struct {
			after, before string
			n             int
			want          []string
		}{
			{"", "", 9, []string{"a", "a-b", "a/b", "z"}},
			{"a", "", 2, []string{"a-b", "a/b"}},
			{"a", "z", 9, []string{"a-b", "a/b"}},
			{"a", "a/b", 9, []string{"a-b"}},
			{"a", "a-", 9, nil},
			{"z", "", 9, nil},
		} {
			repos, err := w.Repositories(ctx, c.after, c.before, c.n)
			w.must(err)
			if !slices.Equal(repos, c.want) {
				t.Errorf("%d repositories between %q and %q: %v, want %v", c.n, c.after, c.before, repos, c.want)
			}
		}
	})
}

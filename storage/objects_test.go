package storage

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

// TestObjectsOfUploads checks that the objects of requests that were refused, failed or lost a race
// are deleted, and that only those of blobs remain. storagetest tests the answers of these
// requests.
func TestObjectsOfUploads(t *testing.T) {
	for name, test := range map[string]struct {
		do     func(w *world)
		remain int
	}{
		"parts":          {func(w *world) { w.manyParts("a", 5) }, 5},
		"repeated":       {(*world).repeatCommit, 2},
		"other callers":  {(*world).uploadOfOthers, 2},
		"wrong digest":   {(*world).wrongDigests, 1},
		"broken body":    {(*world).brokenBodies, 2},
		"unconfirmed":    {(*world).unconfirmed, 2},
		"chunks at once": {(*world).chunksAtOnce, 2},
		"blobs at once":  {(*world).blobsAtOnce, 1},
		"mounted":        {(*world).mountAndDelete, 1},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, Options{}, func(w *world) {
				test.do(w)
				w.settle(test.remain)
			})
		})
	}
}

// TestFinishedSessionIsForgotten checks that a finished session answers repeated commits only for a
// time.
func TestFinishedSessionIsForgotten(t *testing.T) {
	each(t, Options{}, func(w *world) {
		id, d := w.session("a", "hello"), digest.FromString("hello")
		for range 2 {
			_, err := w.Commit(t.Context(), "", "a", id, d, none)
			w.must(err)
		}
		w.settle(1)
		_, err := w.Commit(t.Context(), "", "a", id, d, none)
		w.want(ErrUploadUnknown, err)
	})
}

func (w *world) repeatCommit() {
	ctx, id := w.t.Context(), w.session("a", "hello ")
	_, err := w.Append(ctx, "", "a", id, Chunk{Body: strings.NewReader("x"), Offset: 5, Length: 1})
	w.want(ErrRangeInvalid, err)
	for range 2 {
		_, err = w.Commit(ctx, "", "a", id, digest.FromString("hello world"), chunk("world"))
		w.must(err)
	}
}

func (w *world) uploadOfOthers() {
	ctx, d := w.t.Context(), digest.FromString("hello world")
	up, err := w.CreateUpload(ctx, by("user:alice#1"), "a", "")
	w.must(err)
	refused := func() {
		for _, c := range []string{"user:bob#2", "user:alice#3", ""} {
			_, err := w.Append(ctx, c, "a", up.ID, chunk("hello world"))
			w.want(ErrUploadUnknown, err)
			_, err = w.Commit(ctx, c, "a", up.ID, d, chunk("hello world"))
			w.want(ErrUploadUnknown, err)
		}
	}
	refused() // while a key is reserved for the first bytes
	_, err = w.Append(ctx, "user:alice#1", "a", up.ID, chunk("hello "))
	w.must(err)
	refused() // while no key is reserved
	_, err = w.Commit(ctx, "user:alice#1", "a", up.ID, d, chunk("world"))
	w.must(err)
	refused() // when the session is finished
}

func (w *world) wrongDigests() {
	ctx, other := w.t.Context(), digest.FromString("other")
	_, err := w.Commit(ctx, "", "a", w.session("a", "hello"), other, chunk(" world"))
	w.want(manifest.ErrDigestInvalid, err)
	_, err = w.PutBlob(ctx, by(""), "a", other, chunk("hello"))
	w.want(manifest.ErrDigestInvalid, err)
	d := w.push("b", "hello")
	_, err = w.PutBlob(ctx, by(""), "a", d, none)
	w.want(manifest.ErrDigestInvalid, err)
}

func (w *world) brokenBodies() {
	ctx, id, d := w.t.Context(), w.session("a"), digest.FromString("hello world")
	for _, text := range []string{"hello ", ""} {
		_, err := w.Append(ctx, "", "a", id, Chunk{Body: broken{strings.NewReader(text)}, Offset: -1, Length: 100})
		w.want(ErrClientBody, err)
	}
	_, err := w.Commit(ctx, "", "a", id, d, Chunk{Body: broken{strings.NewReader("wor")}, Offset: -1, Length: 5})
	w.want(ErrClientBody, err)
	_, err = w.PutBlob(ctx, by(""), "a", d, Chunk{Body: broken{strings.NewReader("hello")}, Offset: -1, Length: -1})
	w.want(ErrClientBody, err)
	for _, text := range []string{"wo", "worlds"} {
		_, err = w.Append(ctx, "", "a", id, Chunk{Body: strings.NewReader(text), Offset: 6, Length: 5})
		w.want(ErrSizeInvalid, err)
	}
	_, err = w.Commit(ctx, "", "a", id, d, chunk("world"))
	w.must(err)
}

func (w *world) unconfirmed() {
	ctx, id, d := w.t.Context(), w.session("a", "hello"), digest.FromString("hello, world")
	refusal := errors.New("not any more")
	refused := func(text string) Chunk {
		c := chunk(text)
		c.Confirm = func() error { return refusal }
		return c
	}
	_, err := w.PutBlob(ctx, by(""), "a", d, refused("hello, world"))
	w.want(refusal, err)
	_, err = w.Append(ctx, "", "a", id, refused(", world"))
	w.want(refusal, err)
	_, err = w.Commit(ctx, "", "a", id, d, refused(", world"))
	w.want(refusal, err)
	_, err = w.Commit(ctx, "", "a", id, d, chunk(", world"))
	w.must(err)
}

func (w *world) chunksAtOnce() {
	ctx, id := w.t.Context(), w.session("a")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { w.Append(ctx, "", "a", id, Chunk{Body: strings.NewReader("hello"), Offset: 0, Length: 5}) })
	}
	wg.Wait()
	for range 8 {
		wg.Go(func() {
			if _, err := w.Commit(ctx, "", "a", id, digest.FromString("hello world"), chunk(" world")); err != nil {
				w.t.Error(err)
			}
		})
	}
	wg.Wait()
}

func (w *world) blobsAtOnce() {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := w.PutBlob(w.t.Context(), by(""), "a", digest.FromString("hello"), chunk("hello")); err != nil {
				w.t.Error(err)
			}
		})
	}
	wg.Wait()
}

func (w *world) mountAndDelete() {
	ctx, d := w.t.Context(), w.push("private/a", "hello")
	for _, repo := range []string{"b", "c"} {
		_, err := w.Mount(ctx, "", repo, d, "private/a")
		w.must(err)
	}
	w.must(w.DeleteBlob(ctx, "", "private/a", d))
}

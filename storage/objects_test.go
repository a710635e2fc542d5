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
		do     func(tr *testRegistry)
		remain int
	}{
		"parts":          {func(tr *testRegistry) { tr.manyParts("a", 5) }, 5},
		"repeated":       {(*testRegistry).repeatCommit, 2},
		"other callers":  {(*testRegistry).uploadOfOthers, 2},
		"wrong digest":   {(*testRegistry).wrongDigests, 1},
		"broken body":    {(*testRegistry).brokenBodies, 2},
		"unconfirmed":    {(*testRegistry).unconfirmed, 2},
		"chunks at once": {(*testRegistry).chunksAtOnce, 2},
		"blobs at once":  {(*testRegistry).blobsAtOnce, 1},
		"mounted":        {(*testRegistry).mountAndDelete, 1},
	} {
		t.Run(name, func(t *testing.T) {
			onEachStore(t, Options{}, func(tr *testRegistry) {
				test.do(tr)
				tr.wantAfterJobs(test.remain)
			})
		})
	}
}

// TestFinishedSessionIsForgotten checks that a finished session answers repeated commits only for a
// time.
func TestFinishedSessionIsForgotten(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		id, d := tr.session("a", "hello"), digest.FromString("hello")
		for range 2 {
			_, err := tr.Commit(t.Context(), "", "a", id, d, emptyChunk)
			tr.must(err)
		}
		tr.wantAfterJobs(1)
		_, err := tr.Commit(t.Context(), "", "a", id, d, emptyChunk)
		tr.want(ErrUploadUnknown, err)
	})
}

func (tr *testRegistry) repeatCommit() {
	ctx, id := tr.t.Context(), tr.session("a", "hello ")
	_, err := tr.Append(ctx, "", "a", id, Chunk{Body: strings.NewReader("x"), Offset: 5, Length: 1})
	tr.want(ErrRangeInvalid, err)
	for range 2 {
		_, err = tr.Commit(ctx, "", "a", id, digest.FromString("hello world"), chunk("world"))
		tr.must(err)
	}
}

func (tr *testRegistry) uploadOfOthers() {
	ctx, d := tr.t.Context(), digest.FromString("hello world")
	up, err := tr.CreateUpload(ctx, callerOf("user:alice#1"), "a", "")
	tr.must(err)
	refused := func() {
		for _, c := range []string{"user:bob#2", "user:alice#3", ""} {
			_, err := tr.Append(ctx, c, "a", up.ID, chunk("hello world"))
			tr.want(ErrUploadUnknown, err)
			_, err = tr.Commit(ctx, c, "a", up.ID, d, chunk("hello world"))
			tr.want(ErrUploadUnknown, err)
		}
	}
	refused() // while a key is reserved for the first bytes
	_, err = tr.Append(ctx, "user:alice#1", "a", up.ID, chunk("hello "))
	tr.must(err)
	refused() // while no key is reserved
	_, err = tr.Commit(ctx, "user:alice#1", "a", up.ID, d, chunk("world"))
	tr.must(err)
	refused() // when the session is finished
}

func (tr *testRegistry) wrongDigests() {
	ctx, other := tr.t.Context(), digest.FromString("other")
	_, err := tr.Commit(ctx, "", "a", tr.session("a", "hello"), other, chunk(" world"))
	tr.want(manifest.ErrDigestInvalid, err)
	_, err = tr.PutBlob(ctx, callerOf(""), "a", other, chunk("hello"))
	tr.want(manifest.ErrDigestInvalid, err)
	d := tr.push("b", "hello")
	_, err = tr.PutBlob(ctx, callerOf(""), "a", d, emptyChunk)
	tr.want(manifest.ErrDigestInvalid, err)
}

func (tr *testRegistry) brokenBodies() {
	ctx, id, d := tr.t.Context(), tr.session("a"), digest.FromString("hello world")
	for _, text := range []string{"hello ", ""} {
		_, err := tr.Append(ctx, "", "a", id, Chunk{Body: brokenReader{strings.NewReader(text)}, Offset: -1, Length: 100})
		tr.want(ErrClientBody, err)
	}
	_, err := tr.Commit(ctx, "", "a", id, d, Chunk{Body: brokenReader{strings.NewReader("wor")}, Offset: -1, Length: 5})
	tr.want(ErrClientBody, err)
	_, err = tr.PutBlob(ctx, callerOf(""), "a", d, Chunk{Body: brokenReader{strings.NewReader("hello")}, Offset: -1, Length: -1})
	tr.want(ErrClientBody, err)
	for _, text := range []string{"wo", "worlds"} {
		_, err = tr.Append(ctx, "", "a", id, Chunk{Body: strings.NewReader(text), Offset: 6, Length: 5})
		tr.want(ErrSizeInvalid, err)
	}
	_, err = tr.Commit(ctx, "", "a", id, d, chunk("world"))
	tr.must(err)
}

func (tr *testRegistry) unconfirmed() {
	ctx, id, d := tr.t.Context(), tr.session("a", "hello"), digest.FromString("hello, world")
	refusal := errors.New("not any more")
	refused := func(text string) Chunk {
		c := chunk(text)
		c.Confirm = func() error { return refusal }
		return c
	}
	_, err := tr.PutBlob(ctx, callerOf(""), "a", d, refused("hello, world"))
	tr.want(refusal, err)
	_, err = tr.Append(ctx, "", "a", id, refused(", world"))
	tr.want(refusal, err)
	_, err = tr.Commit(ctx, "", "a", id, d, refused(", world"))
	tr.want(refusal, err)
	_, err = tr.Commit(ctx, "", "a", id, d, chunk(", world"))
	tr.must(err)
}

func (tr *testRegistry) chunksAtOnce() {
	ctx, id := tr.t.Context(), tr.session("a")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { tr.Append(ctx, "", "a", id, Chunk{Body: strings.NewReader("hello"), Offset: 0, Length: 5}) })
	}
	wg.Wait()
	for range 8 {
		wg.Go(func() {
			if _, err := tr.Commit(ctx, "", "a", id, digest.FromString("hello world"), chunk(" world")); err != nil {
				tr.t.Error(err)
			}
		})
	}
	wg.Wait()
}

func (tr *testRegistry) blobsAtOnce() {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := tr.PutBlob(tr.t.Context(), callerOf(""), "a", digest.FromString("hello"), chunk("hello")); err != nil {
				tr.t.Error(err)
			}
		})
	}
	wg.Wait()
}

func (tr *testRegistry) mountAndDelete() {
	ctx, d := tr.t.Context(), tr.push("private/a", "hello")
	for _, repo := range []string{"b", "c"} {
		_, err := tr.Mount(ctx, "", repo, d, "private/a")
		tr.must(err)
	}
	tr.must(tr.DeleteBlob(ctx, "", "private/a", d))
}

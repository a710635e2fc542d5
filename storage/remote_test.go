package storage

import (
	"context"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/testserver"
	"github.com/berth-registry/berth/storage/bucket"
)

// deletions records the keys of deletions, and passes them on.
type deletions struct {
	bucket.Store
	finished, unfinished []string
}

func (d *deletions) Delete(ctx context.Context, keys ...string) error {
	d.finished = append(d.finished, keys...)
	return d.Store.Delete(ctx, keys...)
}

func (d *deletions) DeleteUnfinished(ctx context.Context, keys ...string) error {
	d.unfinished = append(d.unfinished, keys...)
	return d.Store.DeleteUnfinished(ctx, keys...)
}

// TestUnfinishedObjectsAreDeleted checks that parts are looked for only of objects that were never
// recorded.
func TestUnfinishedObjectsAreDeleted(t *testing.T) {
	tr := newTestRegistry(t, "mem://", dbtest.Memory, Options{})
	d := &deletions{Store: tr.faulty.Store}
	tr.faulty.Store = d
	recorded := tr.session("a", "recorded")
	tr.must(tr.CancelUpload(t.Context(), "", "a", recorded))
	broken := Chunk{Body: iotest.TimeoutReader(iotest.OneByteReader(chunk("broken").Body)), Offset: -1, Length: -1}
	_, err := tr.PutBlob(t.Context(), callerOf(""), "a", digest.FromString("broken"), broken)
	tr.want(ErrClientBody, err)
	tr.must(tr.deleteObjects(t.Context()))
	if len(d.finished) != 1 || len(d.unfinished) != 1 || slices.Equal(d.finished, d.unfinished) {
		t.Errorf("deleted %q, as unfinished %q", d.finished, d.unfinished)
	}
}

// TestObjectStoreRequests checks what pulls send to an object store: nothing to open a blob, and
// one request for each object of a range.
func TestObjectStoreRequests(t *testing.T) {
	tr := newTestRegistry(t, testserver.S3(t), dbtest.Memory, Options{})
	b, whole := tr.manyParts("a", 20)
	reads := tr.countReads()
	f, err := b.Open(t.Context())
	tr.must(err)
	defer f.Close()
	if n := reads.opened.Load(); n != 0 {
		t.Errorf("opening a blob sent %d requests", n)
	}
	got, err := readAt(f, 19, 4)
	tr.must(err)
	if n := reads.opened.Load(); got != whole[19:23] || n > 3 {
		t.Errorf("%q and %d requests, want %q", got, n, whole[19:23])
	}

	d := tr.push("a", "one object")
	one, err := tr.Blob(t.Context(), "a", d)
	tr.must(err)
	reads.opened.Store(0)
	f, err = one.Open(t.Context())
	tr.must(err)
	defer f.Close()
	got, err = readAt(f, 4, 6)
	tr.must(err)
	if n := reads.opened.Load(); got != "object" || n != 1 {
		t.Errorf("%q and %d requests, want one", got, n)
	}
}

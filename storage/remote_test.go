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
	deleted, partsRemoved []string
}

func (d *deletions) Delete(ctx context.Context, keys ...string) error {
	d.deleted = append(d.deleted, keys...)
	return d.Store.Delete(ctx, keys...)
}

func (d *deletions) RemoveParts(ctx context.Context, keys ...string) error {
	d.partsRemoved = append(d.partsRemoved, keys...)
	return bucket.RemoveParts(ctx, d.Store, keys...)
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
	if len(d.deleted) != 2 || len(d.partsRemoved) != 1 || !slices.Contains(d.deleted, d.partsRemoved[0]) {
		t.Errorf("deleted %q, and the parts of %q", d.deleted, d.partsRemoved)
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

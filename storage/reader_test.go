package storage

import (
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// manyParts pushes a blob in n chunks of 1 to 3 bytes, and returns it with its text.
func (tr *testRegistry) manyParts(repo string, n int) (Blob, string) {
	tr.t.Helper()
	chunks := make([]string, n)
	for i := range chunks {
		chunks[i] = strings.Repeat(string(rune('a'+i%26)), 1+i%3)
	}
	id := tr.session(repo, chunks...)
	whole := strings.Join(chunks, "")
	_, err := tr.Commit(tr.t.Context(), "", repo, id, digest.FromString(whole), emptyChunk)
	tr.must(err)
	b, err := tr.Blob(tr.t.Context(), repo, digest.FromString(whole))
	tr.must(err)
	return b, whole
}

// readAt reads n bytes of an open blob.
func readAt(f io.ReadSeeker, offset, n int64) (string, error) {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return "", err
	}
	text := make([]byte, n)
	_, err := io.ReadFull(f, text)
	return string(text), err
}

// TestD6PartsOfTheRange checks that a read of a blob of many objects opens only the objects of the
// range.
func TestD6PartsOfTheRange(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		b, whole := tr.manyParts("a", 300)
		reads := tr.countReads()
		for _, test := range []struct{ offset, n, want int64 }{
			{0, 1, 1}, {1, 2, 1}, {0, 3, 2}, {299, 1, 1}, {int64(len(whole)) - 1, 1, 1}, {127, 6, 3}, {0, int64(len(whole)), 300},
		} {
			reads.opened.Store(0)
			f, err := b.Open(ctx)
			tr.must(err)
			got, err := readAt(f, test.offset, test.n)
			tr.must(err)
			tr.must(f.Close())
			if want := whole[test.offset : test.offset+test.n]; got != want {
				t.Errorf("%d bytes from %d on: other bytes", test.n, test.offset)
			}
			if n := reads.opened.Load(); n != test.want {
				t.Errorf("%d bytes from %d on: %d objects were opened, want %d", test.n, test.offset, n, test.want)
			}
		}
	})
}

// TestD6RowsOfTheRange checks that all rows of a blob of many objects are read once, and then only
// a span of them for each byte.
func TestD6RowsOfTheRange(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		b, whole := tr.manyParts("a", 300)
		for offset := range int64(len(whole)) {
			p, err := tr.findSpan(tr.t.Context(), b, offset)
			tr.must(err)
			if _, _, found := p.objectAt(offset); !found || len(p.objects) > spanObjects {
				t.Fatalf("the span for the byte %d begins at %d and has %d objects; found: %v", offset, p.start, len(p.objects), found)
			}
		}
		known, ok := tr.marks.get(b.key())
		if want := (300 + spanObjects - 1) / spanObjects; !ok || len(known.marks) != want {
			t.Errorf("%d marks are remembered, want %d", len(known.marks), want)
		}
	})
}

// TestD6LaterPartIsGone checks that a missing object is found when the reader reaches it, and by an
// empty Read before any of its bytes.
func TestD6LaterPartIsGone(t *testing.T) {
	dir := t.TempDir()
	tr := newTestRegistry(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), Options{})
	b, whole := tr.manyParts("a", 3)
	p, err := tr.findSpan(tr.t.Context(), b, 0)
	tr.must(err)
	tr.must(os.Remove(filepath.Join(dir, "blobs", p.objects[2].Key)))
	f, err := b.Open(t.Context())
	tr.must(err)
	defer f.Close()
	got, err := readAt(f, 0, 3)
	tr.must(err)
	if got != whole[:3] {
		t.Errorf("read %q, want %q", got, whole[:3])
	}
	_, err = f.Seek(0, io.SeekStart)
	tr.must(err)
	_, err = f.Read(nil)
	tr.must(err)
	_, err = f.Seek(3, io.SeekStart)
	tr.must(err)
	_, err = f.Read(nil)
	tr.want(ErrBlobUnknown, err)
	_, err = tr.Blob(t.Context(), "a", b.Digest)
	tr.want(ErrBlobUnknown, err)
}

// TestD6OtherPartsMeanwhile checks that a reader continues with the new objects of a blob that is
// healed while it is read.
func TestD6OtherPartsMeanwhile(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		for _, again := range []int{1, 2, 7} {
			b, whole := tr.manyParts(fmt.Sprint("a", again), 100+again)
			f, err := b.Open(ctx)
			tr.must(err)
			defer f.Close()
			got, err := readAt(f, 0, 100)
			tr.must(err)
			p, err := tr.findSpan(tr.t.Context(), b, 0)
			tr.must(err)
			tr.must(tr.db.Tx(ctx, func(tx *meta.Tx) error {
				_, err := tx.RecordBlobDamaged(b.id, p.objects[0].Key, tr.nowMicro())
				return err
			}))
			size := (len(whole) + again - 1) / again
			id := tr.session("a", slices.Collect(chunksOf(whole, size))...)
			_, err = tr.Commit(ctx, "", "a", id, b.Digest, emptyChunk)
			tr.must(err)
			tr.must(tr.deleteObjects(ctx))
			rest, err := io.ReadAll(f)
			tr.must(err)
			if got+string(rest) != whole {
				t.Errorf("healed with %d objects: other bytes", again)
			}
		}
	})
}

// chunksOf returns consecutive pieces of a text, each of at most size bytes.
func chunksOf(text string, size int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			n := min(size, len(text))
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

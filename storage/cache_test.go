package storage

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
	"github.com/berth-registry/berth/storage/meta"
)

func TestCacheIsBounded(t *testing.T) {
	c := newCache[int, string](16 * (entryOverhead + 100))
	for i := range 100 {
		c.add(i, "x", 100)
		c.get(0) // stays, because it is used
	}
	if _, ok := c.get(0); !ok || len(c.byKey) != 16 || c.lru.Len() != 16 || c.bytes != c.maxBytes {
		t.Errorf("%d entries of %d bytes, the first is there: %v", len(c.byKey), c.bytes, ok)
	}
	c.add(1000, "x", 101)
	if _, ok := c.get(1000); ok {
		t.Error("a value too large was kept")
	}
	c.add(0, "y", 50)
	if v, _ := c.get(0); v != "y" || c.bytes != c.maxBytes-50 {
		t.Errorf("a value added again is %q, %d bytes in all", v, c.bytes)
	}
}

// sharedEngine is an engine whose database other processes may change.
type sharedEngine struct{ *db.DB }

func (s sharedEngine) Query(ctx context.Context, query string, args []any, _ int) (*db.Rows, error) {
	return s.DB.Query(ctx, query, args...)
}

func (sharedEngine) Exclusive() bool { return false }

// TestSharedDatabaseIsNotRemembered checks that nothing is cached of a database that other
// processes may change: neither tags nor upload sessions.
func TestSharedDatabaseIsNotRemembered(t *testing.T) {
	d := db.New(sharedEngine{dbtest.Open(t, dbtest.Memory)})
	bytes := testbucket.Open(t, "mem://")
	open := func() *testRegistry {
		r, err := Open(t.Context(), meta.New(d), bytes, Options{CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return &testRegistry{t: t, Registry: r}
	}
	here, there := open(), open()
	here.push("a", "config")
	for i := range 3 {
		image := here.image(fmt.Sprint(i), "config")
		there.put("a", image, "t")
		got, err := here.Manifest(t.Context(), "a", tag("t"))
		if err != nil || got.Digest != image.Digest {
			t.Errorf("the tag is %s (%v), moved to %s", got.Digest, err, image.Digest)
		}
	}

	up, err := here.CreateUpload(t.Context(), callerOf(""), "a", "")
	here.must(err)
	for at, tr := range []*testRegistry{there, here, there} {
		got, err := tr.Append(t.Context(), "", "a", up.ID, Chunk{Body: strings.NewReader("x"), Offset: int64(at), Length: 1})
		tr.must(err)
		if got.Size != int64(at)+1 {
			t.Errorf("the session has %d bytes after chunk %d", got.Size, at)
		}
	}
	_, err = here.Commit(t.Context(), "", "a", up.ID, digest.FromString("xxx"), emptyChunk)
	here.must(err)
	there.wantBlob("a", "xxx")
}

// TestCachePins checks that pinned values stay in the cache and count, whatever is added, and that
// a value for which they leave no room is not kept.
func TestCachePins(t *testing.T) {
	const size = 1000
	c := newCache[int, string](16 * (entryOverhead + size))
	var releases []func()
	for i := range 16 {
		c.add(i, "x", size)
		_, release, ok := c.pin(i)
		if !ok {
			t.Fatalf("%d was not kept", i)
		}
		releases = append(releases, release)
	}
	c.add(16, "y", size)
	if _, ok := c.get(16); ok || c.bytes > c.maxBytes {
		t.Errorf("a value was kept beside pinned ones: %d of %d bytes", c.bytes, c.maxBytes)
	}
	c.add(3, "z", size)
	if v, _ := c.get(3); v != "x" || c.bytes > c.maxBytes {
		t.Errorf("a pinned value was replaced by %q: %d of %d bytes", v, c.bytes, c.maxBytes)
	}
	releases[7]()
	c.add(16, "y", size)
	if _, _, ok := c.pin(7); ok {
		t.Error("the released value stayed")
	}
	if _, ok := c.get(16); !ok || c.bytes != c.maxBytes {
		t.Errorf("there was no room for a value after a release: %d of %d bytes", c.bytes, c.maxBytes)
	}
	if _, _, ok := c.pin(99); ok {
		t.Error("a value that was never added is pinned")
	}
}

package dir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

// tmpfs mounts a tmpfs with options and returns its directory.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	cannot := t.Skip
	if os.Getenv("BERTH_TEST_ALL") == "1" {
		cannot = t.Fatal
	}
	if os.Geteuid() != 0 {
		cannot("A full disk is tried on a small tmpfs, which only root can mount.")
	}
	noCollector(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		cannot("A full disk is tried on a small tmpfs, which cannot be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error("something is still open:", err)
			syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	})
	return dir
}

// noCollector stops the garbage collector, so that it does not close files that a test leaks.
func noCollector(t *testing.T) {
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
}

func TestFullDisk(t *testing.T) {
	b := openDir(t, tmpfs(t, "size=8m"), bucket.Options{})
	buckettest.MustPut(t, b, bucket.Marker, buckettest.Body(1000))
	for _, size := range []int64{9 << 20, 64 << 20} {
		n, err := b.Put(t.Context(), testKey, io.LimitReader(buckettest.Endless{}, size), io.Discard)
		if !errors.Is(err, bucket.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if n > 10<<20 {
			t.Errorf("went on reading for %d bytes", n)
		}
		wantFiles(t, b, bucket.Marker)
	}
	// The failed objects take no space any more.
	buckettest.MustPut(t, b, testKey, buckettest.Body(7<<20))
	// A full disk still allows reading and deleting, which makes space again.
	_, err := b.Put(t.Context(), "content/00/x-1", io.LimitReader(buckettest.Endless{}, 2<<20), io.Discard)
	if !errors.Is(err, bucket.ErrNoSpace) {
		t.Error(err)
	}
	buckettest.WantObject(t, b, testKey, buckettest.Body(7<<20))
	if err := b.Delete(t.Context(), testKey); err != nil {
		t.Error(err)
	}
	buckettest.MustPut(t, b, "content/00/x-1", buckettest.Body(2<<20))
	wantFiles(t, b, bucket.Marker, "content/00/x-1")
}

func TestNoInodes(t *testing.T) {
	b := openDir(t, tmpfs(t, "size=8m,nr_inodes=400"), bucket.Options{})
	var (
		keys []string
		err  error
	)
	for i := 0; err == nil && i < 1000; i++ { // the number of inodes per file depends on tmpfs
		key := "content/00/x-" + strconv.Itoa(i)
		if _, err = b.Put(t.Context(), key, bytes.NewReader(nil), io.Discard); err == nil {
			keys = append(keys, key)
		}
	}
	unread := &buckettest.Hook{Reader: buckettest.Endless{}, Do: func() { t.Error("read, although no file can be made") }}
	if !errors.Is(err, bucket.ErrNoSpace) {
		t.Error(err)
	}
	if _, err := b.Put(t.Context(), bucket.Marker, unread, io.Discard); !errors.Is(err, bucket.ErrNoSpace) {
		t.Error(err)
	}
	wantFiles(t, b, keys...)
	if err := b.Delete(t.Context(), keys...); err != nil {
		t.Error(err)
	}
	buckettest.MustPut(t, b, bucket.Marker, nil)
	wantFiles(t, b, bucket.Marker)
}

func TestMinFreeLeavesSpace(t *testing.T) {
	const minFree = 4 << 20
	dir := tmpfs(t, "size=16m")
	b := openDir(t, dir, bucket.Options{})
	limited := bucket.LimitSpace(b, minFree, dir)
	var least int64 = 1 << 40
	sum := writerFunc(func(p []byte) (int, error) {
		free, err := freeBytes(dir)
		least = min(least, free)
		return len(p), err
	})
	_, err := limited.Put(t.Context(), testKey, io.LimitReader(buckettest.Endless{}, 15<<20), sum)
	if !errors.Is(err, bucket.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if least < minFree-1<<20-2*defaultBuffer {
		t.Errorf("only %d bytes were left", least)
	}
	wantFiles(t, b)
	buckettest.MustPut(t, limited, testKey, buckettest.Body(11<<20))
}

// TestD9InodesAreLeft checks that small objects fail when few inodes are left, and that objects can
// still be read and deleted.
func TestD9InodesAreLeft(t *testing.T) {
	const all = 2000
	for minFree, want := range map[int64]int64{1 << 20: 64, 8 << 20: all / 20} {
		dir := tmpfs(t, "size=32m,nr_inodes="+strconv.Itoa(all))
		b := bucket.LimitSpace(openDir(t, dir, bucket.Options{}), minFree, dir)
		var (
			keys []string
			err  error
		)
		for i := 0; err == nil && i < all; i++ {
			key := "content/00/x-" + strconv.Itoa(i)
			if _, err = b.Put(t.Context(), key, bytes.NewReader(buckettest.Body(1)), io.Discard); err == nil {
				keys = append(keys, key)
			}
		}
		if !errors.Is(err, bucket.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) ||
			!strings.Contains(err.Error(), "inodes are free") {
			t.Errorf("min_free %d: %v", minFree, err)
		}
		var st syscall.Statfs_t
		err = syscall.Statfs(dir, &st)
		if err != nil || st.Files != all || int64(st.Ffree) < want-2 || int64(st.Ffree) >= want {
			t.Errorf("min_free %d: %+v, %v; want that it stops with fewer than %d free inodes", minFree, st, err, want)
		}
		buckettest.WantObject(t, b, keys[0], buckettest.Body(1))
		if err := b.Delete(t.Context(), keys...); err != nil {
			t.Error(err)
		}
		buckettest.MustPut(t, b, keys[0], buckettest.Body(1))
	}
}

func freeBytes(path string) (int64, error) {
	var st syscall.Statfs_t
	err := syscall.Statfs(path, &st)
	return int64(st.Bavail) * st.Bsize, err
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestNoDescriptorLeaks(t *testing.T) {
	noCollector(t)
	b, d := openFaulty(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	all := func() {
		for _, step := range []string{"opendir", "create", "write", "sync", "rename", "syncdir", "remove", "open", ""} {
			d.set(step, syscall.EIO)
			_, err := b.Put(t.Context(), testKey, io.LimitReader(buckettest.Endless{}, 600_000), io.Discard)
			if err != nil && !errors.Is(err, syscall.EIO) {
				t.Error(err)
			}
			broken := io.MultiReader(io.LimitReader(buckettest.Endless{}, 600_000), iotest.ErrReader(io.ErrUnexpectedEOF))
			b.Put(t.Context(), "content/5e/abc-2", broken, io.Discard)
			b.Put(ended, "content/5e/abc-3", buckettest.Endless{}, io.Discard)
			b.Put(t.Context(), "..", buckettest.Endless{}, io.Discard)
			b.Put(t.Context(), bucket.Marker, bytes.NewReader(nil), io.Discard)
			if r, err := b.Get(t.Context(), testKey, 0, bucket.UnknownSize); err == nil {
				r.Close()
			}
			b.Delete(t.Context(), testKey, bucket.Marker)
			d.set("", nil)
			if err := b.Delete(t.Context(), testKey, "content/5e/abc-2", bucket.Marker); err != nil { // keys are not reused
				t.Error(err)
			}
			b.Sweep(t.Context())
			for range b.Keys(t.Context()) {
				break
			}
			openDir(t, b.root, bucket.Options{}).Close()
		}
		if err := os.Rename(b.path("content/00"), b.path("away")); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(t.Context(), "content/00/a-1", bytes.NewReader(nil), io.Discard); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if err := os.Rename(b.path("away"), b.path("content/00")); err != nil {
			t.Fatal(err)
		}
	}
	all() // the first time the runtime opens descriptors for itself
	before := openFiles(t)
	for range 5 {
		all()
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

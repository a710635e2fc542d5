package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

const (
	testKey = "content/5e/abc-1"

	firstBuffer, defaultBuffer = 32 << 10, 256 << 10 // sizes of the buffers of a Put
)

func TestStore(t *testing.T) {
	buckettest.Run(t, func(t testing.TB, o bucket.Options) bucket.Store {
		b := openDir(t, t.TempDir(), o)
		t.Cleanup(func() { // checks that no other files are left
			reopened := openDir(t, b.root, o)
			wantFiles(t, reopened, keysOf(t, reopened)...)
		})
		return b
	})
}

func openDir(t testing.TB, root string, o bucket.Options) *Store {
	t.Helper()
	b, err := Open(root, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func keysOf(t testing.TB, b *Store) (keys []string) {
	t.Helper()
	for key, err := range b.Keys(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// wantFiles checks that the bucket holds these objects, and that there are no other files.
func wantFiles(t testing.TB, b *Store, want ...string) {
	t.Helper()
	buckettest.WantKeys(t, b, want...)
	files := []string{}
	err := filepath.WalkDir(b.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(b.root, path)
			files = append(files, filepath.ToSlash(name))
		}
		return err
	})
	slices.Sort(want)
	if err != nil || !slices.Equal(files, want) {
		t.Errorf("files %q, %v, want %q", files, err, want)
	}
}

func TestOpenMakesDirectories(t *testing.T) {
	root := filepath.Join(t.TempDir(), "not", "there", "yet")
	for range 2 {
		b := openDir(t, root, bucket.Options{})
		for dir := range bucket.Directories() {
			if info, err := os.Stat(b.path(dir)); err != nil || !info.IsDir() {
				t.Fatalf("%s: %v, %v", dir, info, err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, bucket.ContentDir))
	if err != nil || len(entries) != 256 {
		t.Errorf("%d entries of content, %v", len(entries), err)
	}
	if info, err := os.Stat(root); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		t.Errorf("others may enter: %v, %v", info, err)
	}
}

func TestObjectsOutliveTheBucket(t *testing.T) {
	root := t.TempDir()
	b := openDir(t, root, bucket.Options{})
	buckettest.MustPut(t, b, testKey, buckettest.Body(100_000))
	b.Close()
	b = openDir(t, root, bucket.Options{})
	buckettest.WantObject(t, b, testKey, buckettest.Body(100_000))
	wantFiles(t, b, testKey)
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for root, says := range map[string]string{
		file:                         "there is a file",
		filepath.Join(file, "below"): "",
		"/dev/null/a/\x00":           "",
	} {
		if b, err := Open(root, bucket.Options{}); err == nil {
			b.Close()
			t.Errorf("%s opens", root)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, without %s", root, err, says)
		}
	}
	// A file in the place of the directory of all objects.
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, bucket.ContentDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, bucket.Options{}); err == nil {
		t.Error("a bucket opens whose content is a file")
	}
}

// TestGocloudReadsTheDirectory checks that Berth and fileblob can read each other's objects.
func TestGocloudReadsTheDirectory(t *testing.T) {
	b := openDir(t, t.TempDir(), bucket.Options{})
	other, err := fileblob.OpenBucket(b.root, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	keys := []string{bucket.Marker, "content/00/a-1", "content/00/a_Z-2", "content/ff/--0"}
	for i, key := range keys {
		buckettest.MustPut(t, b, key, buckettest.Body(i*1000))
		if got, err := other.ReadAll(t.Context(), key); err != nil || !bytes.Equal(got, buckettest.Body(i*1000)) {
			t.Errorf("fileblob reads %d bytes of %s, %v, want %d", len(got), key, err, i*1000)
		}
	}
	if got := listed(t, other); !slices.Equal(got, keys) {
		t.Errorf("fileblob lists %q, want %q", got, keys)
	}
	if err := other.WriteAll(t.Context(), testKey, buckettest.Body(7), nil); err != nil {
		t.Fatal(err)
	}
	buckettest.WantObject(t, b, testKey, buckettest.Body(7))
	if err := other.Delete(t.Context(), keys[1]); err != nil {
		t.Error(err)
	}
	wantFiles(t, b, bucket.Marker, keys[2], keys[3], testKey)
}

func listed(t *testing.T, b *blob.Bucket) (keys []string) {
	t.Helper()
	list := b.List(nil)
	for {
		o, err := list.Next(t.Context())
		if err == io.EOF {
			slices.Sort(keys)
			return keys
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
}

func TestGetReturnsAFile(t *testing.T) {
	b := openDir(t, t.TempDir(), bucket.Options{})
	buckettest.MustPut(t, b, testKey, buckettest.Body(10))
	r, err := b.Get(t.Context(), testKey, 0, bucket.UnknownSize)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, isFile := r.(*os.File); !isFile {
		t.Errorf("Get returned a %T, which net/http does not send by sendfile", r)
	}
}

// TestDeletedWhileOpen checks that an object that is deleted while it is open stays readable.
func TestDeletedWhileOpen(t *testing.T) {
	b := openDir(t, t.TempDir(), bucket.Options{})
	content := buckettest.Body(1000)
	buckettest.MustPut(t, b, testKey, content)
	r, err := b.Get(t.Context(), testKey, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := b.Delete(t.Context(), testKey); err != nil {
		t.Fatal(err)
	}
	if _, err := r.(*os.File).Seek(990, io.SeekStart); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[990:]) {
		t.Errorf("the last ten bytes: %x, %v", got, err)
	}
}

// TestKeysAreNotReused checks that a Put to an existing key fails and does not change the object.
func TestKeysAreNotReused(t *testing.T) {
	b := openDir(t, t.TempDir(), bucket.Options{})
	buckettest.MustPut(t, b, testKey, buckettest.Body(10))
	if _, err := b.Put(t.Context(), testKey, bytes.NewReader(nil), io.Discard); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second Put: %v", err)
	}
	buckettest.WantObject(t, b, testKey, buckettest.Body(10))
}

// TestMarkerAppearsWhole checks that the marker appears only when it is complete, and that it
// replaces an earlier one.
func TestMarkerAppearsWhole(t *testing.T) {
	b := openDir(t, t.TempDir(), bucket.Options{})
	look := func(content []byte) func() {
		return func() {
			t.Helper()
			buckettest.WantObject(t, b, bucket.Marker, content)
			if n := temporaryFiles(t, b); n != 1 {
				t.Errorf("%d temporary files, want 1", n)
			}
		}
	}
	nothing := func() {
		if r, err := b.Get(t.Context(), bucket.Marker, 0, bucket.UnknownSize); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get during the first Put: %v, %v", r, err)
		}
	}
	put := func(n int, do func()) {
		t.Helper()
		src := &buckettest.Hook{Reader: bytes.NewReader(buckettest.Body(n)), At: int64(n), Do: do}
		if _, err := b.Put(t.Context(), bucket.Marker, src, io.Discard); err != nil {
			t.Error(err)
		}
	}
	put(10, nothing)
	put(20, look(buckettest.Body(10)))
	src := io.MultiReader(bytes.NewReader(buckettest.Body(30)), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := b.Put(t.Context(), bucket.Marker, src, io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	buckettest.WantObject(t, b, bucket.Marker, buckettest.Body(20))
	wantFiles(t, b, bucket.Marker)
}

// temporaryFiles counts the files that Sweep would remove.
func temporaryFiles(t *testing.T, b *Store) (found int) {
	t.Helper()
	for dir := range bucket.Directories() {
		entries, err := os.ReadDir(b.path(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if isTemporary(dir, e.Name()) {
				found++
			}
		}
	}
	return found
}

// TestTemporaryNames checks that isTemporary knows the temporary names of fileblob, which earlier
// versions of Berth used. fileblob does not document them. It also checks that Put has a temporary
// name only for the marker.
func TestTemporaryNames(t *testing.T) {
	b := openDir(t, t.TempDir(), bucket.Options{})
	other, err := fileblob.OpenBucket(b.root, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for i, key := range []string{testKey, bucket.Marker} {
		w, err := other.NewWriter(t.Context(), key, &blob.WriterOptions{ContentType: "application/octet-stream"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(buckettest.Body(10)); err != nil {
			t.Error(err)
		}
		if n := temporaryFiles(t, b); n != 1 {
			t.Errorf("%d temporary files while fileblob writes %s, want 1", n, key)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		own := []string{"content/5e/own-1", bucket.Marker}[i]
		look := func() {
			if n := temporaryFiles(t, b); n != i {
				t.Errorf("%d temporary files during a Put of %s, want %d", n, own, i)
			}
		}
		src := &buckettest.Hook{Reader: bytes.NewReader(buckettest.Body(10)), At: 5, Do: look}
		if _, err := b.Put(t.Context(), own, src, io.Discard); err != nil {
			t.Error(err)
		}
	}
}

func TestSweep(t *testing.T) {
	const stamp = ".18ea2d11d1382c68.tmp"
	b := openDir(t, t.TempDir(), bucket.Options{})
	buckettest.MustPut(t, b, testKey, buckettest.Body(10))
	buckettest.MustPut(t, b, bucket.Marker, buckettest.Body(10))
	stray := []string{bucket.Marker + stamp, testKey + stamp, "content/00/x-1" + stamp, "content/ff/y-2" + stamp}
	foreign := []string{"notes.tmp", "other.json" + stamp, "content/00/x-1.tmp", "content/00/x-1.18ea2d11d1382c6.tmp",
		"content/00/x-1.18EA2D11D1382C68.tmp", "content/00/x" + stamp, "content/x-1" + stamp,
		"content/00/x-1" + stamp + ".old"}
	for _, name := range append(stray, foreign...) {
		if err := os.WriteFile(b.path(name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(b.path("content/01/dir-1"+stamp), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{len(stray), 0} {
		if n, err := b.Sweep(t.Context()); n != want || err != nil {
			t.Errorf("Sweep: %d, %v, want %d", n, err, want)
		}
	}
	for _, name := range stray {
		if _, err := os.Lstat(b.path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range append(foreign, testKey, bucket.Marker, "content/01/dir-1"+stamp) {
		if _, err := os.Lstat(b.path(name)); err != nil {
			t.Error(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.Sweep(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	b = openDir(t, b.root, bucket.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Sweep(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// TestMissingDirectory checks that Put does not create a missing directory.
func TestMissingDirectory(t *testing.T) {
	b := openDir(t, t.TempDir(), bucket.Options{})
	dir := b.path("content/5e")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), testKey, bytes.NewReader(nil), io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Put: %v", err)
	}
	if err := b.Delete(t.Context(), testKey); err == nil {
		t.Error("Delete cannot know that the object is gone")
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
}

// FuzzKey checks that the file of a valid key is in the bucket's directory, has the key as its path
// there, and is not taken for a temporary file.
func FuzzKey(f *testing.F) {
	for _, key := range []string{
		bucket.Marker, testKey, "content/00/..-1", "../content/00/a-1", "content/00/a-1.0123456789abcdef.tmp",
	} {
		f.Add(key)
	}
	b := &Store{root: filepath.FromSlash("/root/of/bucket")}
	f.Fuzz(func(t *testing.T, key string) {
		if bucket.CheckKey(key) != nil {
			return
		}
		rel, err := filepath.Rel(b.root, b.path(key))
		if err != nil || filepath.ToSlash(rel) != key || !filepath.IsLocal(rel) || isTemporary(filepath.Split(key)) {
			t.Errorf("%q is at %q (%v)", key, rel, err)
		}
	})
}

// TestMemoryIsBounded checks that the memory that a Put allocates does not depend on the size of
// the body.
func TestMemoryIsBounded(t *testing.T) {
	const puts, size = 4, 64 << 20
	b := openDir(t, t.TempDir(), bucket.Options{})
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	before := allocated()
	for i := range puts {
		src := io.LimitReader(buckettest.Endless{}, size)
		if _, err := b.Put(t.Context(), fmt.Sprintf("content/00/m-%d", i), src, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if got, most := allocated()-before, uint64(puts*(2*defaultBuffer+firstBuffer+(64<<10))); got > most {
		t.Errorf("%d Puts of %d bytes allocated %d bytes, want at most %d", puts, size, got, most)
	}
	// A small body uses no large buffer.
	before = allocated()
	for i := range 10 {
		buckettest.MustPut(t, b, fmt.Sprintf("content/01/m-%d", i), nil)
	}
	if got := allocated() - before; got > 10*(firstBuffer+(16<<10)) {
		t.Errorf("10 small Puts allocated %d bytes", got)
	}
}

package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/berth-registry/berth/storage/bucket"
)

func testPutGet(t *testing.T, open Open) {
	const buffer = 40 << 10
	sizes := []int{0, 1, 100, smallBuffer - 1, smallBuffer, smallBuffer + 1, smallBuffer + buffer - 1,
		smallBuffer + buffer, smallBuffer + buffer + 1, smallBuffer + 2*buffer, smallBuffer + 3*buffer + 7, 1 << 20}
	readers := map[string]func(io.Reader) io.Reader{
		"whole":    func(r io.Reader) io.Reader { return r },
		"halves":   iotest.HalfReader,
		"last EOF": iotest.DataErrReader,
		"bytes":    iotest.OneByteReader,
	}
	b := open(t, bucket.Options{BufferSize: buffer})
	var keys []string
	for name, reader := range readers {
		for i, size := range sizes {
			content, sum := Body(size), NewDigest()
			key := fmt.Sprintf("content/%02x/%s-%d", i, name[:2], size)
			keys = append(keys, key)
			n, err := b.Put(t.Context(), key, reader(bytes.NewReader(content)), sum)
			if err != nil || n != int64(size) {
				t.Fatalf("%s, %d bytes: %d, %v", name, size, n, err)
			}
			sum.Want(t, content, n)
			WantObject(t, b, key, content)
		}
	}
	WantKeys(t, b, keys...)
}

func testGet(t *testing.T, open Open) {
	b := open(t, bucket.Options{})
	if r, err := b.Get(t.Context(), bucket.Marker, 0, bucket.UnknownSize); !errors.Is(err, fs.ErrNotExist) || r != nil {
		t.Fatalf("Get of nothing: %v, %v", r, err)
	}
	content := Body(1000)
	MustPut(t, b, bucket.Marker, content)
	r, err := b.Get(t.Context(), bucket.Marker, 0, bucket.UnknownSize)
	if err != nil {
		t.Fatal(err)
	}
	if b.OpensFiles() {
		testSeek(t, r, content)
	} else if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// testSeek checks that the result of Get can seek.
func testSeek(t *testing.T, opened io.Reader, content []byte) {
	t.Helper()
	r, ok := opened.(io.ReadSeeker)
	if !ok {
		t.Fatalf("Get returned a %T, which cannot seek", opened)
	}
	if end, err := r.Seek(0, io.SeekEnd); end != 1000 || err != nil {
		t.Errorf("Seek to the end: %d, %v", end, err)
	}
	if _, err := r.Seek(990, io.SeekStart); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[990:]) {
		t.Errorf("the last ten bytes: %x, %v", got, err)
	}
}

// testSizes checks reads from an offset, and that an object of another size is an error.
func testSizes(t *testing.T, open Open) {
	b := open(t, bucket.Options{})
	for _, size := range []int64{0, 1, 1000, 3 << 20} {
		key, content := fmt.Sprintf("content/00/s-%d", size), Body(int(size))
		MustPut(t, b, key, content)
		for _, offset := range []int64{0, size / 3, size - 1, size} {
			r, err := b.Get(t.Context(), key, max(0, offset), size)
			if err != nil {
				t.Errorf("%d bytes from %d on: %v", size, offset, err)
				continue
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[max(0, offset):]) {
				t.Errorf("%d bytes from %d on: %d, %v", size, offset, len(got), err)
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("after the end: %d, %v", n, err)
			}
			r.Close()
		}
		for _, wrong := range []int64{size + 1, 2*size + 5, size / 2, max(0, size-1)} {
			if wrong == size {
				continue // size is 0
			}
			if r, err := b.Get(t.Context(), key, wrong/2, wrong); !errors.Is(err, bucket.ErrSize) {
				t.Errorf("%d bytes, expected %d: %v, %v", size, wrong, r, err)
			}
			if r, err := b.Get(t.Context(), key, wrong, wrong); wrong > size && !errors.Is(err, bucket.ErrSize) {
				t.Errorf("%d bytes, expected %d, from its end on: %v, %v", size, wrong, r, err)
			}
		}
	}
}

func testDelete(t *testing.T, open Open) {
	b := open(t, bucket.Options{})
	all := []string{bucket.Marker, "content/00/a-1", "content/00/a-2", "content/ff/a-1", "content/ff/b-1"}
	for _, key := range all {
		MustPut(t, b, key, Body(10))
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	if err := b.Delete(t.Context(), "content/00/a-1", "../x"); !errors.Is(err, bucket.ErrKey) {
		t.Errorf("with a wrong key: %v", err)
	}
	WantKeys(t, b, all...)
	for range 2 { // the second time all are absent
		err := b.Delete(t.Context(),
			"content/ff/b-1", "content/00/a-1", "content/ff/a-1", "content/77/no-1", "content/00/a-1")
		if err != nil {
			t.Error(err)
		}
		WantKeys(t, b, bucket.Marker, "content/00/a-2")
	}
	MustPut(t, b, "content/00/a-3", Body(10))
	for range 2 {
		keys := []string{"content/00/a-3", "content/78/no-1"}
		if err := bucket.RemoveParts(t.Context(), b, keys...); err != nil {
			t.Errorf("the parts: %v", err)
		}
		if err := b.Delete(t.Context(), keys...); err != nil {
			t.Errorf("without parts: %v", err)
		}
		WantKeys(t, b, bucket.Marker, "content/00/a-2")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Delete(ctx, bucket.Marker); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	WantKeys(t, b, bucket.Marker, "content/00/a-2")
}

func testKeys(t *testing.T, open Open) {
	b := open(t, bucket.Options{})
	// fileblob's own flat lists are wrong for these keys.
	all := []string{bucket.Marker, "content/0a/a-0", "content/0a/a-1", "content/0a/a-1-1", "content/0a/a-10",
		"content/0b/A-1", "content/f0/a_b-1"}
	for _, key := range all {
		MustPut(t, b, key, nil)
	}
	WantKeys(t, b, all...)
	for key, err := range b.Keys(t.Context()) {
		if key != bucket.Marker || err != nil {
			t.Errorf("first %q, %v", key, err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for key, err := range b.Keys(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %q, %v", key, err)
		}
	}
}

func testClose(t *testing.T, open Open) {
	b := open(t, bucket.Options{})
	MustPut(t, b, bucket.Marker, Body(1))
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	_, putErr := b.Put(t.Context(), bucket.Marker, bytes.NewReader(nil), io.Discard)
	_, getErr := b.Get(t.Context(), bucket.Marker, 0, bucket.UnknownSize)
	for _, err := range []error{
		putErr, getErr, b.Delete(t.Context(), bucket.Marker),
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	for _, err := range b.Keys(t.Context()) {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Keys after Close: %v", err)
		}
	}
}

func testConcurrent(t *testing.T, open Open) {
	b := open(t, bucket.Options{BufferSize: 64 << 10})
	var (
		wg   sync.WaitGroup
		keys []string
	)
	for i := range 48 {
		key := fmt.Sprintf("content/%02x/c-%d", i%3, i)
		gone := i%5 == 0
		if !gone {
			keys = append(keys, key)
		}
		wg.Go(func() {
			content, sum := Body(i*11_111), NewDigest()
			n, err := b.Put(t.Context(), key, bytes.NewReader(content), sum)
			if err != nil || n != int64(len(content)) {
				t.Errorf("Put %s: %d, %v", key, n, err)
				return
			}
			sum.Want(t, content, n)
			r, err := b.Get(t.Context(), key, 0, bucket.UnknownSize)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if gone {
				if err := b.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
				t.Errorf("Get %s: %d bytes, %v", key, len(got), err)
			}
		})
	}
	wg.Wait()
	WantKeys(t, b, keys...)
}

var (
	goodKeys = []string{bucket.Marker, "content/00/a-1", "content/ff/0190-AF_z-12345", "content/a0/--0"}
	badKeys  = []string{"", "/", ".", "..", "berth.json/", "/berth.json", "x/berth.json", "Berth.json", "content", "content/", "content/00",
		"content/00/", "content/00/a", "content/00/a-", "content/00/-1", "content/00/a-1/", "content/00/a-1/b-1", "content/00/../a-1",
		"content/00/..-1", "content/0/a-1", "content/000/a-1", "content/0g/a-1", "content/A0/a-1", "content/../a-1", "content//a-1",
		"content/00/a.b-1", "content/00/a-1.attrs", "content/00/a-1.0123456789abcdef.tmp", "content/00/é-1", "content/00/a\x00-1",
		"content/00/a b-1", "content/00/a\\b-1", "../content/00/a-1", "content\\00\\a-1", "content/00/" + strings.Repeat("a", 200) + "-1"}
)

func testKeyShapes(t *testing.T, open Open) {
	for _, key := range goodKeys {
		if err := bucket.CheckKey(key); err != nil {
			t.Error(err)
		}
	}
	b := open(t, bucket.Options{})
	longest := "content/00/" + strings.Repeat("a", 200-2) + "-1"
	MustPut(t, b, longest, Body(1))
	for _, key := range badKeys {
		if _, err := b.Put(t.Context(), key, bytes.NewReader(nil), io.Discard); !errors.Is(err, bucket.ErrKey) {
			t.Errorf("Put %q: %v", key, err)
		}
		if _, err := b.Get(t.Context(), key, 0, bucket.UnknownSize); !errors.Is(err, bucket.ErrKey) {
			t.Errorf("Get %q: %v", key, err)
		}
		if err := b.Delete(t.Context(), key); !errors.Is(err, bucket.ErrKey) {
			t.Errorf("Delete %q: %v", key, err)
		}
	}
	WantKeys(t, b, longest)
}

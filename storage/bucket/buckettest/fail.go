package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/berth-registry/berth/storage/bucket"
)

var offsets = []int64{0, 100, smallBuffer, 1 << 20, 40 << 20}

func testFailingReader(t *testing.T, open Open) {
	content := make([]byte, 40<<20)
	broken := errors.New("the connection broke")
	b := open(t, bucket.Options{})
	for _, at := range offsets {
		for _, failure := range []error{broken, io.ErrUnexpectedEOF, fmt.Errorf("not the end: %w", io.EOF)} {
			sum := NewDigest()
			src := io.MultiReader(io.LimitReader(Endless{}, at), iotest.ErrReader(failure))
			n, err := b.Put(t.Context(), testKey, src, sum)
			if !errors.Is(err, failure) || n != at {
				t.Errorf("after %d bytes: %d, %v", at, n, err)
			}
			sum.Want(t, content, n)
			WantKeys(t, b)
		}
	}
	_, err := b.Put(t.Context(), testKey, stuckReader{}, io.Discard)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that gives nothing: %v", err)
	}
	WantKeys(t, b)
}

func testEndedContext(t *testing.T, open Open) {
	content := make([]byte, 64<<20)
	b := open(t, bucket.Options{})
	for _, at := range offsets {
		ctx, cancel := context.WithCancel(t.Context())
		sum := NewDigest()
		n, err := b.Put(ctx, testKey, &Hook{Endless{}, at, cancel}, sum)
		if !errors.Is(err, context.Canceled) || n < at {
			t.Errorf("after %d bytes: %d, %v", at, n, err)
		}
		sum.Want(t, content, n)
		WantKeys(t, b)
	}
	// The context ends with the last byte of a body that is otherwise complete.
	ctx, cancel := context.WithCancel(t.Context())
	src := &Hook{io.LimitReader(Endless{}, 100), 100, cancel}
	if _, err := b.Put(ctx, testKey, src, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("at the end: %v", err)
	}
	src = &Hook{Endless{}, 0, func() { t.Error("read, although the context had ended before") }}
	if _, err := b.Put(ctx, testKey, src, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("before the start: %v", err)
	}
	WantKeys(t, b)
}

func testFailingHash(t *testing.T, open Open) {
	b := open(t, bucket.Options{})
	for _, at := range offsets {
		_, err := b.Put(t.Context(), testKey, io.LimitReader(Endless{}, 41<<20), &failingHash{left: at})
		if !errors.Is(err, errSum) {
			t.Errorf("after %d bytes: %v", at, err)
		}
		WantKeys(t, b)
	}
}

func testPanickingReader(t *testing.T, open Open) {
	b := open(t, bucket.Options{})
	for _, at := range offsets {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			b.Put(t.Context(), testKey, &Hook{Endless{}, at, func() { panic("handler aborted") }}, NewDigest())
		}()
		WantKeys(t, b)
	}
	MustPut(t, b, testKey, Body(10)) // checks that the buffers were released correctly
	WantObject(t, b, testKey, Body(10))
}

// testGoroutines checks that the goroutine that hashes has ended when Put returns: synctest fails
// if a goroutine is left.
func testGoroutines(t *testing.T, open Open) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, bucket.Options{})
		for _, size := range offsets {
			for _, src := range []io.Reader{
				io.LimitReader(Endless{}, size),
				io.MultiReader(io.LimitReader(Endless{}, size), iotest.ErrReader(io.ErrUnexpectedEOF)),
				&Hook{Endless{}, size, func() { panic("handler aborted") }},
			} {
				func() {
					defer func() { recover() }()
					b.Put(t.Context(), testKey, src, NewDigest())
				}()
			}
			b.Put(t.Context(), testKey, Endless{}, &failingHash{left: size})
		}
	})
}

// testUnfinished checks that during a Put its key has no object or the beginning of it, and that no
// other key changes.
func testUnfinished(t *testing.T, open Open) {
	b := open(t, bucket.Options{})
	const other = "content/5e/abc-0"
	MustPut(t, b, other, Body(10))
	for _, size := range []int{100, 3 << 20} {
		content := Body(size)
		look := func() {
			WantObject(t, b, other, Body(10))
			wantPart(t, b, content)
			for key, err := range b.Keys(t.Context()) {
				if err != nil || key != other && key != testKey {
					t.Errorf("Keys during the Put: %q, %v", key, err)
				}
			}
		}
		if _, err := b.Put(t.Context(), testKey, &Hook{bytes.NewReader(content), int64(size), look}, io.Discard); err != nil {
			t.Error(err)
		}
		WantObject(t, b, testKey, content)
		if err := b.Delete(t.Context(), testKey); err != nil {
			t.Error(err)
		}
		WantKeys(t, b, other)
	}
}

// wantPart checks that testKey has no object, or the beginning of content.
func wantPart(t *testing.T, b bucket.Store, content []byte) {
	t.Helper()
	r, err := b.Get(t.Context(), testKey, 0, bucket.UnknownSize)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Errorf("Get during the Put: %v", err)
		return
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.HasPrefix(content, got) {
		t.Errorf("Get during the Put: %d bytes that are not the body's, or %v", len(got), err)
	}
}

var errSum = errors.New("cannot hash")

type failingHash struct{ left int64 }

func (f *failingHash) Write(p []byte) (int, error) {
	if f.left -= int64(len(p)); f.left < 0 {
		return 0, errSum
	}
	return len(p), nil
}

type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

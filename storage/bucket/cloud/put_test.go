package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

// fakeService keeps objects and parts in memory, counts requests, and can fail or wait.
type fakeService struct {
	mu      sync.Mutex
	objects map[string][]byte
	open    map[*fakeParts]bool // parts that were neither completed nor aborted
	puts    int
	sizes   map[int]int                     // of parts, by number
	onPart  func(ctx context.Context) error // called for each part, without the lock
}

func (f *fakeService) put(_ context.Context, name string, body []byte, _ bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts++
	f.objects[name] = bytes.Clone(body)
	return nil
}

func (f *fakeService) startParts(context.Context, string) (parts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &fakeParts{f: f}
	f.open[p] = true
	return p, nil
}

func (f *fakeService) remove(context.Context, []string) error    { return nil }
func (f *fakeService) removeParts(context.Context, string) error { return nil }

type fakeParts struct{ f *fakeService }

func (p *fakeParts) write(ctx context.Context, number int, body []byte) error {
	if p.f.onPart != nil {
		if err := p.f.onPart(ctx); err != nil {
			return err
		}
	}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.f.sizes[number] = len(body)
	return ctx.Err()
}

func (p *fakeParts) end(ctx context.Context) error {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	delete(p.f.open, p)
	return ctx.Err()
}

func (p *fakeParts) complete(ctx context.Context) error { return p.end(ctx) }
func (p *fakeParts) abort(ctx context.Context) error    { return p.end(ctx) }

// newFake returns a Store on a new fakeService with S3's traits.
func newFake(o bucket.Options) (*Store, *fakeService) {
	f := &fakeService{objects: map[string][]byte{}, open: map[*fakeParts]bool{}, sizes: map[int]int{}}
	return &Store{service: f, traits: traits{parallel: true, maxParts: 10_000}, pool: newPool(o), buffers: bucket.NewBuffers(o)}, f
}

func zeros(n int64) io.Reader { return io.LimitReader(buckettest.Endless{}, n) }

// wantPut puts a body of zeros.
func wantPut(t *testing.T, s *Store, key string, n int64) {
	t.Helper()
	if got, err := s.Put(t.Context(), key, zeros(n), io.Discard); err != nil || got != n {
		t.Errorf("%d bytes: %d, %v", n, got, err)
	}
}

// TestOnePart checks that a body of one part is one request, and which bodies take memory of the
// pool.
func TestOnePart(t *testing.T) {
	for size, want := range map[int64]struct{ puts, units int64 }{
		0: {1, 0}, smallSize: {1, 0}, smallSize + 1: {1, 1}, partSize: {1, 1}, partSize + 1: {0, 2},
	} {
		s, f := newFake(bucket.Options{})
		wantPut(t, s, testKey, size)
		if int64(f.puts) != want.puts || s.pool.most != want.units || s.pool.lent != 0 {
			t.Errorf("%d bytes: %d PutObject, %d units, %d of them left", size, f.puts, s.pool.most, s.pool.lent)
		}
	}
}

// TestPoolBoundsMemory runs 32 uploads of 64 MiB at once. They share the memory of the pool, and
// all of it returns.
func TestPoolBoundsMemory(t *testing.T) {
	s, f := newFake(bucket.Options{})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() { wantPut(t, s, fmt.Sprintf("content/00/a-%d", i), 64<<20) })
	}
	wg.Wait()
	if s.pool.most > bucket.DefaultUploadMemory/partSize || s.pool.most < 2 {
		t.Errorf("%d buffers at once, %d may be", s.pool.most, bucket.DefaultUploadMemory/partSize)
	}
	if s.pool.lent != 0 || s.pool.spare != nil || len(f.open) != 0 {
		t.Errorf("%d buffers lent and %d kept after the last upload, %d uploads open", s.pool.lent, len(s.pool.spare), len(f.open))
	}
}

// TestWaitsForMemory checks that an upload waits while others hold all buffers, that a small body
// does not, and that the end of the context ends the wait.
func TestWaitsForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newFake(bucket.Options{UploadMemory: bucket.MinUploadMemory})
		var held [][]byte
		for range 2 {
			buf, err := s.pool.take(t.Context(), 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, buf)
		}
		wantPut(t, s, "content/00/small-1", smallSize)

		ctx, cancel := context.WithCancel(t.Context())
		var done atomic.Int64
		go func() {
			_, err := s.Put(ctx, testKey, zeros(smallSize+1), io.Discard)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("a wait that was ended: %v", err)
			}
			done.Add(1)
		}()
		go func() { wantPut(t, s, "content/00/large-1", partSize); done.Add(1) }()
		synctest.Wait()
		if done.Load() != 0 {
			t.Error("an upload did not wait for memory")
		}
		cancel()
		synctest.Wait()
		s.pool.release(held[0], 0)
		synctest.Wait()
		if done.Load() != 2 {
			t.Error("an upload waits, although a buffer is free")
		}
		s.pool.release(held[1], 0)
	})
}

// TestPartsGrow checks that the parts of a large object grow, within the pool, so that 10,000 are
// enough.
func TestPartsGrow(t *testing.T) {
	p := newPool(bucket.Options{})
	var size int64
	for number := range 10_000 {
		units := p.partUnits(number)
		if units > p.units {
			t.Fatalf("part %d has %d units, the pool %d", number, units, p.units)
		}
		size += units * partSize
	}
	if size < 400<<30 {
		t.Errorf("10,000 parts have room for %d bytes", size)
	}

	s, f := newFake(bucket.Options{UploadMemory: bucket.MinUploadMemory})
	s.traits.maxParts = 4
	if _, err := s.Put(t.Context(), testKey, buckettest.Endless{}, io.Discard); err == nil || len(f.open) != 0 {
		t.Errorf("an endless body: %v, %d uploads open", err, len(f.open))
	}
	s, f = newFake(bucket.Options{})
	w := &objectWriter{Store: s, name: "x", number: 998, small: smallBuffers.Get().(*[]byte)}
	w.buf = *w.small
	for range 4 * partSize / smallSize {
		if err := w.write(t.Context(), make([]byte, smallSize)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.close(t.Context())
	if f.sizes[998] != partSize || f.sizes[999] != partSize || f.sizes[1000] != 2*partSize || s.pool.lent != 0 {
		t.Errorf("sizes %v, %d units lent", f.sizes, s.pool.lent)
	}
}

// TestFailedPart checks that the error of a part that is sent beside others ends the Put, and that
// no upload stays, also if the context has ended.
func TestFailedPart(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	for name, onPart := range map[string]func(ctx context.Context) error{
		"error":     func(context.Context) error { return broken },
		"cancelled": func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() },
	} {
		s, f := newFake(bucket.Options{})
		f.onPart = onPart
		_, err := s.Put(ctx, testKey, buckettest.Endless{}, io.Discard)
		if want := map[string]error{"error": broken, "cancelled": context.Canceled}[name]; !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if len(f.open) != 0 || s.pool.lent != 0 {
			t.Errorf("%s: %d uploads and %d buffers are left", name, len(f.open), s.pool.lent)
		}
	}
}

// TestServerLeavesNoParts checks on real stores that a Put whose source fails, or that is
// cancelled, leaves neither an object nor parts, and that RemoveParts removes the parts of a
// Put whose process died.
func TestServerLeavesNoParts(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			s := openURL(t, server(t), bucket.Options{})
			cut := io.MultiReader(zeros(3*partSize), &buckettest.Hook{Reader: zeros(1), Do: func() {}}, errorReader{io.ErrUnexpectedEOF})
			if _, err := s.Put(t.Context(), testKey, cut, io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a source that fails: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			src := &buckettest.Hook{Reader: buckettest.Endless{}, At: 3 * partSize, Do: cancel}
			if _, err := s.Put(ctx, testKey, src, io.Discard); !errors.Is(err, context.Canceled) {
				t.Errorf("a cancelled Put: %v", err)
			}
			buckettest.WantKeys(t, s)
			wantOpenUploads(t, s, 0)

			p, err := s.service.startParts(t.Context(), s.prefix+testKey)
			if err == nil {
				err = p.write(t.Context(), 0, make([]byte, partSize))
			}
			if err != nil {
				t.Fatal(err)
			}
			wantOpenUploads(t, s, 1)
			if err := s.RemoveParts(t.Context(), testKey); err != nil {
				t.Fatal(err)
			}
			wantOpenUploads(t, s, 0)
		})
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// wantOpenUploads checks the number of multipart uploads. Only S3 lists them.
func wantOpenUploads(t *testing.T, s *Store, want int) {
	t.Helper()
	if c, ok := s.service.(*s3Service); ok {
		out, err := c.client.ListMultipartUploads(t.Context(), listUploads(c, ""))
		if err != nil || len(out.Uploads) != want {
			t.Errorf("%d multipart uploads, %v, want %d", len(out.Uploads), err, want)
		}
	}
}

// TestServerMarker checks that a marker that is there stays as it is.
func TestServerMarker(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			s := openURL(t, server(t), bucket.Options{})
			buckettest.MustPut(t, s, bucket.Marker, []byte("first"))
			_, err := s.Put(t.Context(), bucket.Marker, bytes.NewReader([]byte("second")), io.Discard)
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("a second marker: %v", err)
			}
			buckettest.WantObject(t, s, bucket.Marker, []byte("first"))
		})
	}
}

// TestServerDeletesInBatches deletes more objects than one request may name.
func TestServerDeletesInBatches(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			s := openURL(t, server(t), bucket.Options{})
			keys := make([]string, maxRemoved+1)
			for i := range keys {
				keys[i] = fmt.Sprintf("content/00/a-%d", i)
			}
			buckettest.MustPut(t, s, keys[0], nil)
			buckettest.MustPut(t, s, keys[maxRemoved], nil)
			if err := s.Delete(t.Context(), keys...); err != nil {
				t.Error(err)
			}
			buckettest.WantKeys(t, s)
		})
	}
}

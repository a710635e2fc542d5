package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const testKey = "content/5e/abc-1"

// endless is a source of zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// hook calls its function once before the byte at an offset, and then goes on.
type hook struct {
	io.Reader
	at int64
	do func()
}

func (h *hook) Read(p []byte) (int, error) {
	if h.do != nil && h.at == 0 {
		h.do()
		h.do = nil
	}
	if h.do != nil {
		p = p[:min(int64(len(p)), h.at)]
	}
	n, err := h.Reader.Read(p)
	h.at -= int64(n)
	return n, err
}

var offsets = []int64{0, 100, firstBuffer, 1 << 20, 40 << 20}

func TestFailingReaderCommitsNothing(t *testing.T) {
	content := make([]byte, 40<<20)
	broken := errors.New("the connection broke")
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		for _, at := range offsets {
			for _, failure := range []error{broken, io.ErrUnexpectedEOF, fmt.Errorf("not the end: %w", io.EOF)} {
				sum := newDigest()
				src := io.MultiReader(io.LimitReader(endless{}, at), iotest.ErrReader(failure))
				n, err := b.Put(t.Context(), testKey, src, sum)
				if !errors.Is(err, failure) || n != at {
					t.Errorf("after %d bytes: %d, %v", at, n, err)
				}
				sum.want(t, content, n)
				wantKeys(t, b)
			}
		}
		_, err := b.Put(t.Context(), testKey, stuck{}, io.Discard)
		if !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("a reader that gives nothing: %v", err)
		}
		wantKeys(t, b)
	})
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestEndedContextCommitsNothing(t *testing.T) {
	content := make([]byte, 64<<20)
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		for _, at := range offsets {
			ctx, cancel := context.WithCancel(t.Context())
			sum := newDigest()
			n, err := b.Put(ctx, testKey, &hook{endless{}, at, cancel}, sum)
			if !errors.Is(err, context.Canceled) || n < at {
				t.Errorf("after %d bytes: %d, %v", at, n, err)
			}
			sum.want(t, content, n)
			wantKeys(t, b)
		}
		// It ends with the last byte of a body that is otherwise whole.
		ctx, cancel := context.WithCancel(t.Context())
		src := &hook{io.LimitReader(endless{}, 100), 100, cancel}
		if _, err := b.Put(ctx, testKey, src, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("at the end: %v", err)
		}
		src = &hook{endless{}, 0, func() { t.Error("read, although the context had ended before") }}
		if _, err := b.Put(ctx, testKey, src, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("before the start: %v", err)
		}
		wantKeys(t, b)
	})
}

// Where the context ends once the object has its key, the Put still makes it durable.
func TestContextEndsAfterPublishing(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		ctx, cancel := context.WithCancel(t.Context())
		b := open(Options{Fault: func(step, _ string) error {
			if step == "syncdir" {
				cancel()
			}
			return nil
		}})
		if _, err := b.Put(ctx, testKey, bytes.NewReader(body(10)), io.Discard); err != nil {
			t.Error(err)
		}
		wantObject(t, b, testKey, body(10))
	})
}

func TestFailingHashCommitsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		for _, at := range offsets {
			_, err := b.Put(t.Context(), testKey, io.LimitReader(endless{}, 41<<20), &failingSum{left: at})
			if !errors.Is(err, errSum) {
				t.Errorf("after %d bytes: %v", at, err)
			}
			wantKeys(t, b)
		}
	})
}

var errSum = errors.New("cannot hash")

type failingSum struct{ left int64 }

func (f *failingSum) Write(p []byte) (int, error) {
	if f.left -= int64(len(p)); f.left < 0 {
		return 0, errSum
	}
	return len(p), nil
}

func TestPanickingReaderCommitsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		for _, at := range offsets {
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				b.Put(t.Context(), testKey, &hook{endless{}, at, func() { panic("handler aborted") }}, newDigest())
			}()
			wantKeys(t, b)
		}
		mustPut(t, b, testKey, body(10)) // the buffers are in order
		wantObject(t, b, testKey, body(10))
	})
}

// The goroutine that hashes has ended when Put returns: a bubble in which one is left fails.
func TestNoGoroutineLeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openURL(t, "mem://", Options{})
		for _, size := range offsets {
			for _, src := range []io.Reader{
				io.LimitReader(endless{}, size),
				io.MultiReader(io.LimitReader(endless{}, size), iotest.ErrReader(io.ErrUnexpectedEOF)),
				&hook{endless{}, size, func() { panic("handler aborted") }},
			} {
				func() {
					defer func() { recover() }()
					b.Put(t.Context(), testKey, src, newDigest())
				}()
			}
			b.Put(t.Context(), testKey, endless{}, &failingSum{left: size})
		}
	})
}

func TestUnfinishedIsInvisible(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		for _, size := range []int64{100, 3 << 20} {
			look := func() {
				if _, err := b.Get(t.Context(), testKey); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Get during the Put: %v", err)
				}
				for key, err := range b.Keys(t.Context()) {
					t.Errorf("Keys during the Put: %q, %v", key, err)
				}
			}
			if _, err := b.Put(t.Context(), testKey, &hook{io.LimitReader(endless{}, size), size, look}, io.Discard); err != nil {
				t.Error(err)
			}
			if err := b.Delete(t.Context(), testKey); err != nil {
				t.Error(err)
			}
		}
	})
}

// Each write of a large body goes on while its bytes are still being hashed: here the hash waits for the write.
func TestHashingOverlapsWriting(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		wrote := make(chan struct{}, 100)
		b := open(Options{Fault: func(step, _ string) error {
			if step == "write" {
				wrote <- struct{}{}
			}
			return nil
		}})
		chunk := 0
		sum := writerFunc(func(p []byte) (int, error) {
			if chunk++; chunk > 1 { // the first is small, hashed and then written
				if chunk == 2 {
					<-wrote
				}
				select {
				case <-wrote:
				case <-time.After(20 * time.Second):
					return 0, fmt.Errorf("chunk %d is not written while it is hashed", chunk)
				}
			}
			return len(p), nil
		})
		if _, err := b.Put(t.Context(), testKey, io.LimitReader(endless{}, 10*defaultBuffer), sum); err != nil {
			t.Error(err)
		}
		if chunk < 10 {
			t.Errorf("only %d chunks", chunk)
		}
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What Puts allocate does not depend on the size of the bodies.
func TestMemoryIsBounded(t *testing.T) {
	const puts, size = 4, 64 << 20
	b := openDir(t, t.TempDir(), Options{})
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	before := allocated()
	for i := range puts {
		if _, err := b.Put(t.Context(), fmt.Sprintf("content/00/m-%d", i), io.LimitReader(endless{}, size), io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if got, most := allocated()-before, uint64(puts*(2*defaultBuffer+firstBuffer+(64<<10))); got > most {
		t.Errorf("%d Puts of %d bytes allocated %d bytes, want at most %d", puts, size, got, most)
	}
	// And a small one takes no large buffer.
	before = allocated()
	for i := range 10 {
		mustPut(t, b, fmt.Sprintf("content/01/m-%d", i), nil)
	}
	if got := allocated() - before; got > 10*(firstBuffer+(16<<10)) {
		t.Errorf("10 small Puts allocated %d bytes", got)
	}
}

func TestMinFree(t *testing.T) {
	unread := &hook{endless{}, 0, func() { t.Error("read, although there is no space") }}
	dir := t.TempDir()
	for name, b := range map[string]*Bucket{
		"its own":   openDir(t, t.TempDir(), Options{MinFree: math.MaxInt64}),
		"another's": openURL(t, "mem://", Options{MinFree: math.MaxInt64, Paths: []string{dir}}),
	} {
		if _, err := b.Put(t.Context(), testKey, unread, io.Discard); !errors.Is(err, ErrNoSpace) {
			t.Errorf("%s: %v", name, err)
		}
		wantKeys(t, b)
		if err := b.Delete(t.Context(), testKey); err != nil {
			t.Errorf("%s: Delete needs space: %v", name, err)
		}
	}
	b := openDir(t, t.TempDir(), Options{MinFree: 1, Paths: []string{dir}})
	mustPut(t, b, testKey, body(3<<20))
	b = openURL(t, "mem://", Options{MinFree: 1, Paths: []string{dir + "/none"}})
	if _, err := b.Put(t.Context(), testKey, unread, io.Discard); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoSpace) {
		t.Errorf("a path that is not there: %v", err)
	}
}

// The free space is looked at again in mid-body, at least once in each MiB: here it is gone after the first write.
func TestMinFreeInMidBody(t *testing.T) {
	for _, buffer := range []int{100 << 10, 1 << 20, 4 << 20} {
		var written atomic.Int64
		b := openURL(t, "mem://", Options{BufferSize: buffer})
		b.o.Fault = func(step, _ string) error {
			if step == "write" {
				b.o.MinFree, b.o.Paths = math.MaxInt64, []string{t.TempDir()}
			}
			return nil
		}
		_, err := b.Put(t.Context(), testKey, io.LimitReader(endless{}, 32<<20), writerFunc(func(p []byte) (int, error) {
			written.Add(int64(len(p)))
			return len(p), nil
		}))
		if !errors.Is(err, ErrNoSpace) {
			t.Errorf("%v", err)
		}
		if most := int64(spaceInterval + 2*buffer); written.Load() > most {
			t.Errorf("went on for %d bytes, want at most %d", written.Load(), most)
		}
		wantKeys(t, b)
	}
}

func TestMetrics(t *testing.T) {
	b := openURL(t, "mem://", Options{})
	mustPut(t, b, testKey, body(1))
	wantObject(t, b, testKey, body(1))
	b.Get(t.Context(), Marker)
	b.Put(t.Context(), Marker, iotest.ErrReader(io.ErrUnexpectedEOF), io.Discard)
	p := &plan{}
	b.o.Fault = p.fault
	p.set("sync", errors.New("broken"))
	b.Put(t.Context(), Marker, bytes.NewReader(nil), io.Discard)
	b.Delete(t.Context(), testKey)

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(b.Collectors()...)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "berth_bucket_operation_seconds" {
		t.Fatal(families, err)
	}
	got := map[string]uint64{}
	for _, m := range families[0].GetMetric() {
		if n := m.GetHistogram().GetSampleCount(); n > 0 {
			got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = n
		}
	}
	want := map[string]uint64{"put ok": 1, "put aborted": 1, "put error": 1, "get ok": 2, "delete ok": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

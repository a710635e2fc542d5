package bucket

import (
	"context"
	"errors"
	"io"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeDisk is a file system that counts how many times it is measured.
type fakeDisk struct {
	freeSpace
	measured int
}

func (d *fakeDisk) measure(string) (freeSpace, error) {
	d.measured++
	return d.freeSpace, nil
}

func (d *fakeDisk) wantMeasured(t *testing.T, n int) {
	t.Helper()
	if d.measured != n {
		t.Errorf("measured %d times, want %d", d.measured, n)
	}
}

// TestSpaceIsMeasuredOnce checks that a file system is measured once in 100 ms, unless the space
// that was found is used up.
func TestSpaceIsMeasuredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const minFree = 16 << 20
		d := &fakeDisk{freeSpace: freeSpace{bytes: minFree + 3<<20, inodes: 1 << 20, allInodes: 1 << 20}}
		s := &spaceLimit{minFree: minFree, paths: []string{"x"}, measure: d.measure}
		take := func(bytes, inodes int64, want error) {
			t.Helper()
			if err := s.take(bytes, inodes); !errors.Is(err, want) {
				t.Errorf("take: %v, want %v", err, want)
			}
		}
		for range 3 {
			take(1<<20, 1, nil)
			take(0, 0, nil)
		}
		d.wantMeasured(t, 1)
		time.Sleep(maxSpaceAge - time.Nanosecond)
		take(0, 1, nil)
		d.wantMeasured(t, 1)
		time.Sleep(time.Nanosecond)
		take(0, 1, nil)
		d.wantMeasured(t, 2)

		// More bytes or inodes are taken than were found.
		d.bytes = minFree - 1
		take(4<<20, 0, ErrNoSpace)
		d.wantMeasured(t, 3)
		d.bytes, d.inodes = math.MaxInt64, minFree/bytesPerInode+2
		for range 2 {
			take(0, 1, nil)
			d.wantMeasured(t, 4)
		}
		d.inodes -= 3
		take(0, 1, ErrNoSpace)
		d.wantMeasured(t, 5)

		// A measurement that found too little is not used again.
		d.inodes++
		take(0, 0, nil)
		d.wantMeasured(t, 6)
		s.subtract(math.MaxInt64)
		take(0, 0, nil)
		d.wantMeasured(t, 7)
	})
}

// TestSpaceWithoutInodes checks that a file system that counts no inodes never lacks them.
func TestSpaceWithoutInodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDisk{freeSpace: freeSpace{bytes: math.MaxInt64}}
		s := &spaceLimit{minFree: 1 << 30, paths: []string{"x", "y"}, measure: d.measure}
		for range 10 {
			if err := s.take(0, 1); err != nil {
				t.Error(err)
			}
		}
		d.wantMeasured(t, 2) // one for each path
	})
}

// discardingStore is a Store whose Put stores nothing.
type discardingStore struct {
	Store
	buffers *Buffers
}

func (s discardingStore) Put(ctx context.Context, _ string, src io.Reader, sum io.Writer) (int64, error) {
	return s.buffers.Copy(ctx, src, sum, func([]byte) error { return nil })
}

// TestSpaceOfSmallBodies checks that small bodies are counted too, so that many of them within 100
// ms do not exceed the limit.
func TestSpaceOfSmallBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const minFree = 16 << 20
		d := &fakeDisk{freeSpace: freeSpace{bytes: minFree + 1<<20}}
		inner := discardingStore{buffers: NewBuffers(Options{})}
		s := &limitedStore{inner, &spaceLimit{minFree: minFree, paths: []string{"x"}, measure: d.measure}}
		put := func(want error) {
			t.Helper()
			if _, err := s.Put(t.Context(), "key", io.LimitReader(zeros{}, 600<<10), io.Discard); !errors.Is(err, want) {
				t.Errorf("Put: %v, want %v", err, want)
			}
		}
		put(nil)
		put(nil)
		d.wantMeasured(t, 1)
		d.bytes -= 1200 << 10
		put(ErrNoSpace)
		d.wantMeasured(t, 2)
	})
}

// TestSpaceEndsInMidBody checks that a Put fails in the middle of a body, at most one MiB and its
// buffers after the space is gone.
func TestSpaceEndsInMidBody(t *testing.T) {
	for _, buffer := range []int{100 << 10, 1 << 20, 4 << 20} {
		var free atomic.Int64
		free.Store(100)
		look := func(string) (freeSpace, error) { return freeSpace{bytes: free.Load()}, nil }
		inner := discardingStore{buffers: NewBuffers(Options{BufferSize: buffer})}
		s := &limitedStore{inner, &spaceLimit{minFree: 1, paths: []string{"x"}, measure: look}}
		var summed atomic.Int64
		_, err := s.Put(t.Context(), "key", io.LimitReader(zeros{}, 32<<20), writerFunc(func(p []byte) (int, error) {
			free.Store(0)
			summed.Add(int64(len(p)))
			return len(p), nil
		}))
		if !errors.Is(err, ErrNoSpace) {
			t.Errorf("%v", err)
		}
		if most := int64(takeInterval + 2*buffer); summed.Load() > most {
			t.Errorf("went on for %d bytes, want at most %d", summed.Load(), most)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// countingStore is a Store that counts what is put.
type countingStore struct {
	Store
	puts int
}

func (s *countingStore) Put(context.Context, string, io.Reader, io.Writer) (int64, error) {
	s.puts++
	return 0, nil
}

// TestSpaceOfTheMarker: the marker is written however little space is left, so that a new registry
// starts.
func TestSpaceOfTheMarker(t *testing.T) {
	store := &countingStore{}
	limited := LimitSpace(store, math.MaxInt64, t.TempDir())
	if _, err := limited.Put(t.Context(), "key", nil, io.Discard); !errors.Is(err, ErrNoSpace) {
		t.Errorf("another key: %v", err)
	}
	if _, err := limited.Put(t.Context(), Marker, nil, io.Discard); err != nil || store.puts != 1 {
		t.Errorf("the marker: %v, %d puts", err, store.puts)
	}
}

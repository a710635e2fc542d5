package bucket

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

const (
	// takeInterval is the number of bytes of a body after which they are taken from a spaceLimit.
	takeInterval = 1 << 20
	// maxSpaceAge is how long a measurement is used, since others write to the file system too.
	maxSpaceAge = 100 * time.Millisecond
	// bytesPerInode is the number of bytes of min_free that require one free inode. mkfs.ext4 has
	// the same ratio.
	bytesPerInode = 16 << 10
)

// LimitSpace returns s with a Put that fails with ErrNoSpace, before or during a body, when fewer
// than minFree bytes are free on the file system of any of the paths. If a file system counts
// inodes, one for each 16 KiB of minFree must be free too, or 5 % of all if that is less. If
// minFree is 0, LimitSpace returns s.
//
// The marker is exempt, so that a new registry starts as an old one does: it serves pulls, and
// refuses uploads.
//
// The free space is measured again after 100 ms, or when the space that was found has been written.
// So what other programs write within 100 ms is not noticed.
func LimitSpace(s Store, minFree int64, paths ...string) Store {
	if minFree <= 0 {
		return s
	}
	return &limitedStore{s, &spaceLimit{minFree: minFree, paths: paths, measure: readFreeSpace}}
}

// limitedStore is the Store that LimitSpace returns.
type limitedStore struct {
	Store
	space *spaceLimit
}

// CheckSpace implements [Store].
func (l *limitedStore) CheckSpace() error { return l.space.take(0, 0) }

// Put implements [Store].
func (l *limitedStore) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (int64, error) {
	if key == Marker {
		return l.Store.Put(ctx, key, src, sum)
	}
	if err := l.space.take(0, 1); err != nil {
		return 0, fmt.Errorf("bucket: put %s: %w", key, err)
	}
	return l.Store.Put(ctx, key, &limitedReader{src: src, space: l.space}, sum)
}

// SignURL implements [Signer].
func (l *limitedStore) SignURL(ctx context.Context, key string, o SignOptions) (string, error) {
	return SignURL(ctx, l.Store, key, o)
}

// RemoveParts implements [PartRemover].
func (l *limitedStore) RemoveParts(ctx context.Context, keys ...string) error {
	return RemoveParts(ctx, l.Store, keys...)
}

// limitedReader is a body that fails when too little space is left.
type limitedReader struct {
	src   io.Reader
	space *spaceLimit
	n     int64 // bytes that were read and not yet taken from space
}

// Read fails if too little space is left for the bytes that were read before.
func (r *limitedReader) Read(p []byte) (int, error) {
	if r.n > takeInterval {
		if err := r.space.take(r.n, 0); err != nil {
			return 0, err
		}
		r.n = 0
	}
	n, err := r.src.Read(p)
	if r.n += int64(n); err != nil {
		r.space.subtract(r.n)
		r.n = 0
	}
	return n, err
}

// freeSpace is the space on a file system that is free for an ordinary user.
type freeSpace struct {
	bytes     int64
	inodes    int64
	allInodes int64 // free and used; 0 if the file system does not count inodes
}

// spaceLimit keeps count of the bytes and inodes that may be written until the next measurement.
type spaceLimit struct {
	minFree int64
	paths   []string
	measure func(path string) (freeSpace, error)

	mu            sync.Mutex // guards the fields below
	measured      time.Time  // zero if the last measurement failed or found too little
	bytes, inodes int64      // left until the next measurement
}

// take takes bytes and inodes from the space that is left, and measures it again if needed.
// Errors: ErrNoSpace; those of measure.
//
// The lock is held during a measurement. Otherwise what another goroutine takes meanwhile would
// have to be subtracted from the result, which may include it already. With enough space there are
// at most ten measurements a second.
func (s *spaceLimit) take(bytes, inodes int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes < bytes || s.inodes < inodes || s.measured.IsZero() || time.Since(s.measured) >= maxSpaceAge {
		if err := s.measureAll(); err != nil {
			return err
		}
	}
	s.bytes -= bytes
	s.inodes -= inodes
	return nil
}

// subtract takes bytes that were written, without a check.
func (s *spaceLimit) subtract(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= bytes
}

// measureAll measures each file system, and returns an error if one has too little space.
func (s *spaceLimit) measureAll() error {
	s.measured = time.Time{}
	s.bytes, s.inodes = math.MaxInt64, math.MaxInt64
	for _, path := range s.paths {
		free, err := s.measure(path)
		if err != nil {
			return fmt.Errorf("free space of %s: %w", path, err)
		}
		if free.bytes < s.minFree {
			return fmt.Errorf("%w: %d bytes are free on the file system of %s, %d must be",
				ErrNoSpace, free.bytes, path, s.minFree)
		}
		least := min(s.minFree/bytesPerInode, free.allInodes/20)
		if free.inodes < least {
			return fmt.Errorf("%w: %d inodes are free on the file system of %s, %d must be",
				ErrNoSpace, free.inodes, path, least)
		}
		s.bytes = min(s.bytes, free.bytes-s.minFree)
		if free.allInodes > 0 {
			s.inodes = min(s.inodes, free.inodes-least)
		}
	}
	s.measured = time.Now()
	return nil
}

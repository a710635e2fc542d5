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
	// spaceInterval is how many bytes of a body are taken at once from what may be written.
	takeInterval = 1 << 20
	// spaceAge is how long a look at the free space holds: others write to the file system too.
	maxSpaceAge = 100 * time.Millisecond
	// bytesPerInode is how many bytes of min_free stand for one inode: as many as mkfs.ext4 gives
	// each.
	bytesPerInode = 16 << 10
)

// LimitSpace returns s with a Put that fails with ErrNoSpace, before and during a body, when fewer
// than minFree bytes are free on the file system of one of the paths. Of inodes, where a file
// system counts them, one for each 16 KiB of minFree must stay free, or 5 % if that is less. 0
// turns the checks off.
//
// The file systems are looked at when the last look is 100 ms old, or when what it found has been
// written since: what others take within 100 ms is not seen.
func LimitSpace(s Store, minFree int64, paths ...string) Store {
	if minFree <= 0 {
		return s
	}
	return &limited{s, &spaceLimit{minFree: minFree, paths: paths, measure: readFreeSpace}}
}

// limited is a Store with a limit on its space.
type limited struct {
	Store
	space *spaceLimit
}

// CheckSpace implements [Store].
func (l *limited) CheckSpace() error { return l.space.take(0, 0) }

// Put implements [Store].
func (l *limited) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (int64, error) {
	if err := l.space.take(0, 1); err != nil {
		return 0, fmt.Errorf("bucket: put %s: %w", key, err)
	}
	return l.Store.Put(ctx, key, &limitedReader{src: src, space: l.space}, sum)
}

// limitedReader is a body that fails where the space ends.
type limitedReader struct {
	src   io.Reader
	space *spaceLimit
	n     int64 // bytes that were read and not taken yet
}

// Read reads unless too little space is left for what was read before.
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

// room is what an ordinary user may still take of a file system.
type freeSpace struct {
	bytes     int64
	inodes    int64
	allInodes int64 // inodes, free or not; 0 where they are not counted
}

// space is what may be written to file systems.
type spaceLimit struct {
	minFree int64
	paths   []string
	measure func(path string) (freeSpace, error)

	mu            sync.Mutex // guards what follows
	measured      time.Time  // zero when the last look found too little
	bytes, inodes int64      // what may be taken until the next look
}

// take takes bytes and inodes of what may be written. Errors: ErrNoSpace, those of looking.
//
// The others wait while one looks, which is at most ten times a second as long as there is much
// space. If they did not, what they take meanwhile would have to be counted, although the look may
// have seen it.
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

// took notes bytes that were written.
func (s *spaceLimit) subtract(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= bytes
}

// lookAtAll looks at each file system, and fails where one has too little.
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

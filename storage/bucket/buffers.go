package bucket

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultBuffer = 256 << 10
	// So that 64 bodies at once have all that they can use.
	defaultBuffers = 36 << 20
	// Most bodies of a small push (configs, manifests' blobs) fit into the first buffer, which is
	// smaller so that many of them at once cost little.
	firstBuffer = 32 << 10
)

// Buffers lends the buffers of a store's Puts. Its methods may be called from several goroutines.
type Buffers struct {
	size         int       // of a large one
	first, large sync.Pool // of *[]byte
	budget       budget    // of those that are in use
}

// NewBuffers returns the buffers of a store with these options.
func NewBuffers(o Options) *Buffers {
	if o.BufferSize <= 0 {
		o.BufferSize = defaultBuffer
	}
	if o.Buffers <= 0 {
		o.Buffers = defaultBuffers
	}
	b := &Buffers{size: o.BufferSize}
	b.budget.max = o.Buffers
	b.first.New = func() any { p := make([]byte, min(firstBuffer, o.BufferSize)); return &p }
	b.large.New = func() any { p := make([]byte, o.BufferSize); return &p }
	return b
}

// Copy gives what src has, until io.EOF, to sum and to write, in order, and returns how many bytes
// src gave and sum got, also when it fails. It never writes what came with an error of src. Both
// are given the same bytes at the same time by two goroutines where a body is large and comes fast;
// none is left when Copy returns. The errors are those of src, sum and write, and of ctx when that
// ended, which is looked at between two reads of src.
//
// It has a small buffer for as long as it lasts, and large ones while the body comes fast and the
// budget has some: it never waits for them. A client that stops sending holds them for no longer
// than its Read lasts.
func (b *Buffers) Copy(
	ctx context.Context, src io.Reader, sum io.Writer, write func([]byte) error,
) (n int64, err error) {
	s := &stream{src: src, sum: sum, write: write}
	err = b.copy(ctx, s)
	return s.n, err
}

// stream is the way of one body from its reader to the object and to the hash.
type stream struct {
	src   io.Reader
	sum   io.Writer
	write func(p []byte) error

	n int64 // bytes given to sum
}

// fillTime is how long a body may take to fill its buffer, to be given large ones and to keep them.
// Slower ones gain nothing from them.
const fillTime = time.Second

// budget bounds the bytes of the buffers that Puts hold.
type budget struct {
	max  int64
	used atomic.Int64
}

// take reserves n bytes and reports whether there were so many.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) <= b.max {
		return true
	}
	b.release(n)
	return false
}

// release gives back n bytes.
func (b *budget) release(n int) { b.used.Add(-int64(n)) }

// copy passes the whole body on.
func (b *Buffers) copy(ctx context.Context, s *stream) error {
	buf := b.first.Get().(*[]byte)
	defer b.first.Put(buf)
	b.budget.used.Add(int64(len(*buf))) // there or not
	defer b.budget.release(len(*buf))
	for {
		p, slow, end := s.fill(ctx, *buf, true)
		if err := s.hashAndWrite(p, end); err != nil || end != nil {
			return err
		}
		if slow {
			continue
		}
		if done, err := b.copyLarge(ctx, s); err != nil || done {
			return err
		}
	}
}

// copyLarge passes the body on through large buffers, and reports whether it has ended. If not, it
// has become slow, or the budget is used up. What ends in the first one is hashed and written one
// after the other: a second goroutine would cost more than it gains.
func (b *Buffers) copyLarge(ctx context.Context, s *stream) (done bool, err error) {
	one := b.takeLarge()
	if one == nil {
		return false, nil
	}
	defer b.releaseLarge(one)
	p, slow, end := s.fill(ctx, *one, false)
	if slow || end != nil {
		return end != nil, s.hashAndWrite(p, end)
	}
	two := b.takeLarge()
	if two == nil {
		return false, s.hashAndWrite(p, nil)
	}
	defer b.releaseLarge(two)
	return s.overlap(ctx, *one, *two)
}

// takeLarge returns a large buffer, or nil if the budget has none.
func (b *Buffers) takeLarge() *[]byte {
	if !b.budget.take(b.size) {
		return nil
	}
	return b.large.Get().(*[]byte)
}

func (b *Buffers) releaseLarge(buf *[]byte) {
	b.large.Put(buf)
	b.budget.release(b.size)
}

// fill reads until buf is full or, unless whole, the body turns out to be slow. The error is that
// of src, io.EOF included, or of ctx; it comes with the bytes read before it.
func (s *stream) fill(ctx context.Context, buf []byte, whole bool) (p []byte, slow bool, end error) {
	start := time.Now()
	n, empty := 0, 0
	for n < len(buf) && (whole || !slow) {
		if err := ctx.Err(); err != nil {
			return buf[:n], slow, err
		}
		m, err := s.src.Read(buf[n:])
		n += m
		if err != nil {
			return buf[:n], slow, err
		}
		if m > 0 {
			empty = 0
		} else if empty++; empty == 100 {
			return buf[:n], slow, io.ErrNoProgress
		}
		slow = time.Since(start) > fillTime
	}
	return buf[:n], slow, nil
}

// pass hashes and writes p, after which src ended with end, or goes on if that is nil.
func (s *stream) hashAndWrite(p []byte, end error) error {
	s.n += int64(len(p))
	if _, err := s.sum.Write(p); err != nil {
		return sumError(err)
	}
	return s.writeUnlessFailed(p, end)
}

// put writes p, unless src failed after it, in which case the object will be discarded.
func (s *stream) writeUnlessFailed(p []byte, end error) error {
	if end != nil && end != io.EOF {
		return end
	}
	if len(p) == 0 {
		return nil
	}
	return s.write(p)
}

// overlap passes on the full buffer one and the rest of src, and reports whether src has ended; if
// not, it has become slow. While a buffer is hashed by a second goroutine, this one writes it and
// reads the other, so that a body takes as long as the slower of the two, not as both.
func (s *stream) overlap(ctx context.Context, one, two []byte) (done bool, err error) {
	h := startHasher(s.sum)
	defer h.stop() // before the buffers go back to the pool
	p, next := one, two
	var end error
	for {
		s.n += int64(len(p))
		h.work <- p
		err := s.writeUnlessFailed(p, end)
		var (
			q    []byte
			slow bool
			qEnd error
		)
		if err == nil && end == nil {
			q, slow, qEnd = s.fill(ctx, next, false)
		}
		if hashErr := <-h.done; err == nil && hashErr != nil {
			err = sumError(hashErr)
		}
		if err != nil || end != nil {
			return true, err
		}
		if slow {
			return qEnd != nil, s.hashAndWrite(q, qEnd)
		}
		p, next, end = q, p[:cap(p)], qEnd
	}
}

// hasher is a goroutine that hashes, one buffer at a time.
type hasher struct {
	work chan []byte
	done chan error // one for each buffer; closed when the goroutine ends
}

func startHasher(sum io.Writer) hasher {
	h := hasher{work: make(chan []byte, 1), done: make(chan error, 1)}
	go func() {
		defer close(h.done)
		for p := range h.work {
			_, err := sum.Write(p)
			h.done <- err
		}
	}()
	return h
}

// stop waits until the goroutine has ended.
func (h hasher) stop() {
	close(h.work)
	for range h.done {
	}
}

func sumError(err error) error { return fmt.Errorf("hash: %w", err) }

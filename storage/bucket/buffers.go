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
	// Enough for the small buffer and two large ones of 64 bodies at once.
	defaultBuffers = 36 << 20
	// The first buffer is small, so that many small bodies at once cost little memory. Most bodies
	// of a small push fit into it.
	firstBuffer = 32 << 10
)

// Buffers lends buffers to the Puts of a store. It is safe for concurrent use.
type Buffers struct {
	size         int       // of a large buffer
	first, large sync.Pool // of *[]byte
	budget       budget    // for the buffers in use
}

// NewBuffers returns the Buffers of a store with options o.
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

// Copy copies src, until io.EOF, to both sum and write. It returns the number of bytes that were
// read from src and written to sum, also after an error. Bytes that src returned together with an
// error are not passed to write. For a large and fast body, a second goroutine writes to sum; it
// has ended when Copy returns. The errors are those of src, sum and write, and of ctx, which is
// checked between reads of src.
//
// Copy has a small buffer all the time, and large ones while the body is fast and the budget allows
// it. It never waits for a buffer. A client that stops sending keeps the large ones only until its
// Read returns.
func (b *Buffers) Copy(
	ctx context.Context, src io.Reader, sum io.Writer, write func([]byte) error,
) (n int64, err error) {
	s := &stream{src: src, sum: sum, write: write}
	err = b.copy(ctx, s)
	return s.n, err
}

// stream is one body: its source, and the hash and the object that it is copied to.
type stream struct {
	src   io.Reader
	sum   io.Writer
	write func(p []byte) error

	n int64 // bytes written to sum
}

// fillTime is the time in which a fast body fills a buffer. Slower bodies get no large buffers, and
// would not gain from them.
const fillTime = time.Second

// budget limits the bytes of the buffers in use.
type budget struct {
	max  int64
	used atomic.Int64
}

// take takes n bytes and reports whether the budget allows it.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) <= b.max {
		return true
	}
	b.release(n)
	return false
}

// release returns n bytes.
func (b *budget) release(n int) { b.used.Add(-int64(n)) }

// copy copies the whole body.
func (b *Buffers) copy(ctx context.Context, s *stream) error {
	buf := b.first.Get().(*[]byte)
	defer b.first.Put(buf)
	b.budget.used.Add(int64(len(*buf))) // even if that exceeds the budget
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

// copyLarge copies the body through large buffers and reports whether it has ended. If not, the
// body has become slow, or the budget is used up. If the body ends in the first large buffer, no
// second goroutine is started: it would cost more than it gains.
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

// takeLarge returns a large buffer, or nil if the budget does not allow one.
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

// fill reads src until buf is full. Unless whole is set, it also stops when the body is slow. end
// is the error of src, which may be io.EOF, or of ctx; p holds the bytes that were read before it.
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

// hashAndWrite hashes and writes p. end is the error that src returned after p, or nil.
func (s *stream) hashAndWrite(p []byte, end error) error {
	s.n += int64(len(p))
	if _, err := s.sum.Write(p); err != nil {
		return sumError(err)
	}
	return s.writeUnlessFailed(p, end)
}

// writeUnlessFailed writes p, unless src failed after it: then the object is discarded anyway. It
// returns that error.
func (s *stream) writeUnlessFailed(p []byte, end error) error {
	if end != nil && end != io.EOF {
		return end
	}
	if len(p) == 0 {
		return nil
	}
	return s.write(p)
}

// overlap copies the full buffer one and the rest of src, and reports whether src has ended; if
// not, it has become slow. While a second goroutine hashes one buffer, this one writes it and fills
// the other. So a body takes the longer of the two times, not their sum.
func (s *stream) overlap(ctx context.Context, one, two []byte) (done bool, err error) {
	h := startHasher(s.sum)
	defer h.stop() // before the buffers are released
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

// hasher is a goroutine that hashes one buffer at a time.
type hasher struct {
	work chan []byte
	done chan error // receives one result for each buffer; closed when the goroutine ends
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

// stop ends the goroutine and waits for it.
func (h hasher) stop() {
	close(h.work)
	for range h.done {
	}
}

func sumError(err error) error { return fmt.Errorf("hash: %w", err) }

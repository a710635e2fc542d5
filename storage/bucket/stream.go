package bucket

import (
	"context"
	"fmt"
	"io"
	"time"
)

// stream is the way of one body from its reader to the object and to the hash.
type stream struct {
	src   io.Reader
	sum   io.Writer
	write func(p []byte) error

	n       int64         // bytes given to sum
	waited  time.Duration // in src.Read
	aborted bool          // src failed, or the context ended
}

// copy passes the whole body on. Bodies within the first buffer, and those that end in the large one after it, are
// hashed and written one after the other: a second goroutine would cost them more than it gains.
func (b *Bucket) copy(ctx context.Context, s *stream) error {
	done, err := b.copyFirst(ctx, s)
	if done || err != nil {
		return err
	}
	one := b.large.Get().(*[]byte)
	defer b.large.Put(one)
	p, end := s.fill(ctx, *one)
	if end != nil {
		return s.pass(p, end)
	}
	two := b.large.Get().(*[]byte)
	defer b.large.Put(two)
	return s.overlap(ctx, *one, *two)
}

// copyFirst passes on as much as the first buffer takes, and says whether that was all.
func (b *Bucket) copyFirst(ctx context.Context, s *stream) (done bool, err error) {
	buf := b.first.Get().(*[]byte)
	defer b.first.Put(buf)
	p, end := s.fill(ctx, *buf)
	return end != nil, s.pass(p, end)
}

// fill reads until buf is full. The error is that of src, io.EOF included, or of ctx; it comes with the bytes read
// before it.
func (s *stream) fill(ctx context.Context, buf []byte) ([]byte, error) {
	start := time.Now()
	defer func() { s.waited += time.Since(start) }()
	n, empty := 0, 0
	for n < len(buf) {
		if err := ctx.Err(); err != nil {
			return buf[:n], err
		}
		m, err := s.src.Read(buf[n:])
		n += m
		if err != nil {
			return buf[:n], err
		}
		if m > 0 {
			empty = 0
		} else if empty++; empty == 100 {
			return buf[:n], io.ErrNoProgress
		}
	}
	return buf, nil
}

// pass hashes and writes p, after which src ended with end, or goes on if that is nil.
func (s *stream) pass(p []byte, end error) error {
	s.n += int64(len(p))
	if _, err := s.sum.Write(p); err != nil {
		return sumError(err)
	}
	return s.put(p, end)
}

// put writes p, unless src failed after it, in which case the object will be discarded.
func (s *stream) put(p []byte, end error) error {
	if end != nil && end != io.EOF {
		s.aborted = true
		return end
	}
	if len(p) == 0 {
		return nil
	}
	return s.write(p)
}

// overlap passes on the full buffer one and the rest of src. While a buffer is hashed by a second goroutine, this one
// writes it and reads the other, so that a body takes as long as the slower of the two, not as both.
func (s *stream) overlap(ctx context.Context, one, two []byte) error {
	h := startHasher(s.sum)
	defer h.stop() // before the buffers go back to the pool
	p, next := one, two
	var end error
	for {
		s.n += int64(len(p))
		h.work <- p
		err := s.put(p, end)
		var (
			q    []byte
			qEnd error
		)
		if err == nil && end == nil {
			q, qEnd = s.fill(ctx, next)
		}
		if hashErr := <-h.done; err == nil && hashErr != nil {
			err = sumError(hashErr)
		}
		if err != nil || end != nil {
			return err
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

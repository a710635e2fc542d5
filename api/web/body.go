package web

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Body reads a request's body. The connection's read deadline moves with the
// bytes, so that a body may last for ever but not stand still. net/http's own
// body is left in the request, where net/http looks for its type.
type Body struct {
	src     io.Reader
	control *http.ResponseController
	timeout time.Duration
	expect  bool // the client waits for "100 Continue", which the first Read sends

	read atomic.Int64 // bytes
	err  error        // the first error, other than io.EOF; for the handler alone

	mu          sync.Mutex
	limit       *timeLimit // of the whole body; nil for none
	deadlineSet time.Time  // when the deadline was last set
	ended       bool       // the last byte was read, or the request answered
	interrupted bool       // by Interrupt
}

func newBody(src io.Reader, control *http.ResponseController, timeout time.Duration, expect bool) *Body {
	return &Body{src: src, control: control, timeout: timeout, expect: expect}
}

// stale reports whether a deadline set at moved is worth setting again: not for
// each small read, but often enough that it stays near its timeout.
func deadlineDue(set, now time.Time, timeout time.Duration) bool {
	return now.Sub(set) > min(time.Second, timeout/4)
}

// timeLimit is how long a whole body may take.
type timeLimit struct {
	began      time.Time
	base, step time.Duration // step is added for each unit that came
	unit       int64         // bytes
}

// at is when the limit ends for a body of which n bytes came.
func (l *timeLimit) deadline(n int64) time.Time {
	return l.began.Add(l.base + time.Duration(n/l.unit)*l.step)
}

// Within limits the time of the whole body, counted from now: base, and step for each unit of bytes
// that comes. Where it is over reads fail as those of a body that stands still.
func (b *Body) LimitTime(base, step time.Duration, unit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = &timeLimit{began: time.Now(), base: base, step: step, unit: unit}
	b.deadlineSet = time.Time{}
}

// Read reads and, now and then, moves the deadline.
func (b *Body) Read(p []byte) (int, error) {
	if err := b.extend(time.Now()); err != nil {
		return 0, b.fail(err)
	}
	n, err := b.src.Read(p)
	b.read.Add(int64(n))
	switch {
	case err == io.EOF:
		// net/http now waits on the connection to see the client go, and would
		// take a deadline's passing for that.
		b.markEnded(true)
	case err != nil:
		b.fail(err)
	}
	return n, err
}

// Received returns how many bytes were read.
func (b *Body) Received() int64 { return b.read.Load() }

func (b *Body) fail(err error) error {
	if b.err == nil {
		b.err = err
	}
	return err
}

// extend moves the deadline. An error means that the connection has none, so
// that nothing would guard the read, or that reading has to end.
func (b *Body) extend(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.interrupted {
		return os.ErrDeadlineExceeded
	}
	if b.ended || !deadlineDue(b.deadlineSet, now, b.timeout) {
		return nil
	}
	b.deadlineSet = now
	deadline := now.Add(b.timeout)
	if b.limit != nil {
		if end := b.limit.deadline(b.read.Load()); end.Before(deadline) {
			deadline = end
		}
	}
	return b.control.SetReadDeadline(deadline)
}

// until sets the deadline of reads beside or after the answer. An error means
// that reading has to end.
func (b *Body) setDeadline(deadline time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.interrupted {
		return os.ErrDeadlineExceeded
	}
	return b.control.SetReadDeadline(deadline)
}

// over reports whether the body was read to its end, or to an error after which
// nothing comes.
func (b *Body) atEnd() bool {
	b.mu.Lock()
	ended := b.ended
	b.mu.Unlock()
	return ended || b.err != nil && !b.pastLimit()
}

// late reports whether reading ended because the whole took too long, while there
// may be more.
func (b *Body) pastLimit() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Stalled() && b.limit != nil && !time.Now().Before(b.limit.deadline(b.read.Load()))
}

// remains reports whether there is more of the body to read. A client that waits
// for "100 Continue" in vain sends nothing.
func (b *Body) hasMore() bool {
	return !b.atEnd() && !b.Interrupted() && (!b.expect || b.read.Load() > 0)
}

// end takes the body out of reach of interrupt; with clear the deadline goes.
func (b *Body) markEnded(clear bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && clear {
		// An error means that the connection is gone, which its next use shows.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	b.ended = true
}

// interrupt makes reads fail, those that wait and those to come.
func (b *Body) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.interrupted = true
		_ = b.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// Interrupted reports whether reading ended because of Server.Interrupt.
func (b *Body) Interrupted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.interrupted
}

// Stalled reports whether reading ended because the client sent nothing.
func (b *Body) Stalled() bool { return errors.Is(b.err, os.ErrDeadlineExceeded) }

// bodies are those of the requests being served.
type bodies struct {
	mu      sync.Mutex
	open    map[*Body]struct{}
	stopped bool
}

func (s *bodies) add(b *Body) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[*Body]struct{})
	}
	s.open[b] = struct{}{}
	if s.stopped {
		b.interrupt()
	}
}

func (s *bodies) remove(b *Body) {
	b.markEnded(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, b)
}

func (s *bodies) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for b := range s.open {
		b.interrupt()
	}
}

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

// Body reads a request's body. It moves the connection's read deadline with the bytes, so that a
// body may take any time but may not stall. It does not replace http.Request.Body, because net/http
// inspects the type of that field.
type Body struct {
	src     io.Reader
	control *http.ResponseController
	timeout time.Duration
	expect  bool // the client asked for "100 Continue", which the first Read sends

	read atomic.Int64 // bytes
	err  error        // the first error except io.EOF; only for the handler's goroutine

	mu          sync.Mutex
	limit       *timeLimit // for the whole body; nil for none
	deadlineSet time.Time  // when the deadline was set last; zero before
	ended       bool       // the last byte was read, or the request is over
	interrupted bool       // by Server.Interrupt, or when the connection is cut
}

func newBody(src io.Reader, control *http.ResponseController, timeout time.Duration, expect bool) *Body {
	return &Body{src: src, control: control, timeout: timeout, expect: expect}
}

// deadlineDue reports whether a deadline that was last set at set is to be set again. That is not
// done for each small read: a deadline is early by at most a second, or a quarter of the timeout.
func deadlineDue(set, now time.Time, timeout time.Duration) bool {
	return now.Sub(set) > min(time.Second, timeout/4)
}

// timeLimit is the time that a whole body may take: base, and step for each full unit received.
type timeLimit struct {
	began      time.Time
	base, step time.Duration
	unit       int64 // bytes
}

// deadline returns when the limit ends for a body of which n bytes were received.
func (l *timeLimit) deadline(n int64) time.Time {
	return l.began.Add(l.base + time.Duration(n/l.unit)*l.step)
}

// LimitTime limits the time for the whole body, counted from now: base, and step for each unit of
// bytes received. After that reads fail as they do for a stalled body.
func (b *Body) LimitTime(base, step time.Duration, unit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = &timeLimit{began: time.Now(), base: base, step: step, unit: unit}
	b.deadlineSet = time.Time{}
}

// Read implements io.Reader. It moves the deadline when that is due.
func (b *Body) Read(p []byte) (int, error) {
	if err := b.extend(time.Now()); err != nil {
		return 0, b.fail(err)
	}
	n, err := b.src.Read(p)
	b.read.Add(int64(n))
	switch {
	case err == io.EOF:
		// net/http now reads the connection to notice that the client leaves. It would take an
		// expired deadline for that.
		b.markEnded(true)
	case err != nil:
		b.fail(err)
	}
	return n, err
}

// Received returns the number of bytes read.
func (b *Body) Received() int64 { return b.read.Load() }

func (b *Body) fail(err error) error {
	if b.err == nil {
		b.err = err
	}
	return err
}

// extend moves the read deadline when that is due. It returns an error if the connection has no
// deadlines, since then the read would be unguarded, or if the body was interrupted.
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

// setDeadline sets the deadline of reads outside Read, while or after the answer is sent. It
// returns an error if the body was interrupted.
func (b *Body) setDeadline(deadline time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.interrupted {
		return os.ErrDeadlineExceeded
	}
	return b.control.SetReadDeadline(deadline)
}

// atEnd reports whether the body was read to its end, or to an error after which nothing follows.
func (b *Body) atEnd() bool {
	b.mu.Lock()
	ended := b.ended
	b.mu.Unlock()
	return ended || b.err != nil && !b.pastLimit()
}

// pastLimit reports whether reading ended because the whole body took too long. More may follow.
func (b *Body) pastLimit() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Stalled() && b.limit != nil && !time.Now().Before(b.limit.deadline(b.read.Load()))
}

// hasMore reports whether there is more of the body to read. A client that waits for "100 Continue"
// sends nothing until it gets it.
func (b *Body) hasMore() bool {
	return !b.atEnd() && !b.Interrupted() && (!b.expect || b.read.Load() > 0)
}

// markEnded makes interrupt ignore the body. With clear it also removes the read deadline.
func (b *Body) markEnded(clear bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && clear {
		// An error means that the connection is gone, which its next use reports.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	b.ended = true
}

// interrupt makes reads fail: a read in progress, and all later ones.
func (b *Body) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.interrupted = true
		_ = b.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// Interrupted reports whether reading ended because the server stops, or because the connection was
// cut.
func (b *Body) Interrupted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.interrupted
}

// Stalled reports whether reading ended at a deadline: the client sent nothing for
// Options.BodyTimeout, or the whole body took longer than LimitTime allows.
func (b *Body) Stalled() bool { return errors.Is(b.err, os.ErrDeadlineExceeded) }

// bodies is the set of the bodies of requests in progress.
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

package web

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// An answer may be ready before the request's body has ended: a 401, a 404, a
// 413. To close the connection then, with bytes unread, would reset it, and many
// clients and proxies send all of a body before they look for an answer: they
// would find the reset in its place. So the answer goes out first, and after it
// the rest of the body is read and thrown away:
//
//	answer --> read on -- end of body --> next request
//	              |
//	              | LingerBytes or LingerTime used up, lingerIdle
//	              v
//	            pause --> close
//
// maxLingering connections do so at once. What all others may send is leaveBytes
// in leaveTime, as net/http has it too. In the pause nothing is read, so that a
// client whose sending gets stuck has time to find the answer.
//
// On HTTP/2 nothing is read on: a stream ends without its connection.
const (
	// lingerIdle is how long the rest of a body may stand still.
	lingerIdle = 10 * time.Second
	// lingerPause is how long an unread rest waits for the client to see the answer.
	lingerPause = 500 * time.Millisecond
	// maxLingering is how many connections are read on at once, and
	// maxLingeringOf how many of them may come from one network.
	maxLingering           = 64
	maxLingeringPerNetwork = maxLingering / 4
	defaultLingerBytes     = 256 << 10
	defaultLingerTime      = 5 * time.Second
	// quickAnswer is the size of answers that the kernel takes at once. A client
	// that reads when it has sent everything would never take a larger one.
	maxEarlyAnswer = 64 << 10
)

// answering decides, before the answer's header is written, whether net/http
// reads leaveBytes of the body before that.
func (x *Exchange) beforeHeader() {
	b, n := x.Body, x.Response.bodyLength()
	switch {
	case b.atEnd():
	case 0 <= n && n <= maxEarlyAnswer && b.hasMore():
		x.early = x.Response.control.EnableFullDuplex() == nil
	default:
		_ = b.setDeadline(time.Now().Add(min(defaultLingerTime, b.timeout/2))) // leaves time for the answer
	}
}

// linger reads on after an answer that did not wait for the body's end. The
// request is over before that: its log line and metrics are of the answer.
func (s *Server) linger(x *Exchange) {
	b := x.Body
	most, limit := int64(defaultLingerBytes), defaultLingerTime
	if o := s.options; o.LingerBytes > 0 && o.LingerTime > 0 {
		if s.lingers.acquire(b, o.ClientNetwork(x.Origin.Addr)) {
			most, limit = o.LingerBytes, o.LingerTime
		}
	}
	err := s.drain(b, most, time.Now().Add(limit))
	s.lingers.release(b)
	switch {
	case err == io.EOF:
		return
	case err == nil, b.pastLimit(): // what comes is not read, or cannot be
		time.Sleep(lingerPause)
	}
	x.abort()
}

// discard reads what is left of a body. It returns io.EOF where that is all, and
// nil where it is more than most bytes.
func (s *Server) drain(b *Body, most int64, last time.Time) error {
	buf := s.buffers.Get().(*[copyBuffer]byte)
	defer s.buffers.Put(buf)
	idle := min(lingerIdle, b.timeout)
	for most >= 0 {
		until := time.Now().Add(idle)
		if until.After(last) {
			until = last
		}
		if err := b.setDeadline(until); err != nil {
			return err
		}
		// A byte more, to see the end of a body of just that size.
		n, err := b.src.Read(buf[:min(copyBuffer, most+1)])
		most -= int64(n)
		s.options.Drained(n)
		if errors.Is(err, http.ErrBodyReadAfterClose) { // net/http closes what it has read to the end
			err = io.EOF
		}
		if err == io.EOF {
			b.markEnded(true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// StopLingering ends the reading of what is left of bodies after their answers,
// now and from now on, so that a shutdown does not wait for it.
func (s *Server) StopLingering() { s.lingers.stop() }

// lingering are the bodies whose connections are read on, with the networks they
// come from.
type lingerSlots struct {
	mu      sync.Mutex
	open    map[*Body]netip.Prefix
	stopped bool
}

// enter takes a slot for a body, if its network may have one more.
func (l *lingerSlots) acquire(b *Body, network netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := 0
	for _, n := range l.open {
		if n == network {
			same++
		}
	}
	if l.stopped || len(l.open) >= maxLingering || same >= maxLingeringPerNetwork {
		return false
	}
	if l.open == nil {
		l.open = make(map[*Body]netip.Prefix)
	}
	l.open[b] = network
	return true
}

// leave gives a slot back, if the body has one.
func (l *lingerSlots) release(b *Body) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, b)
}

// stop ends the reading, and lets none begin.
func (l *lingerSlots) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	for b := range l.open {
		b.interrupt()
	}
}

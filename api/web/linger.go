package web

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// An answer may be ready before the request's body has ended: a 401, a 404, a 413. Closing the
// connection with unread bytes would reset it. Many clients and proxies send the whole body before
// they look for an answer, and would find the reset instead. So the answer is sent first, and then
// the rest of the body is drained:
//
//	answer --> drain -- end of body --> next request
//	             |
//	             | LingerBytes or LingerTime used up, lingerIdle
//	             v
//	           pause --> close
//
// At most maxLingering connections linger like this at once. Any further connection gets the limits
// that net/http uses: defaultLingerBytes and defaultLingerTime. During the pause nothing is read,
// so that a client whose sending blocks has time to find the answer.
//
// HTTP/2 needs no draining: a stream can end without its connection.
const (
	// lingerIdle is how long the rest of a body may stall.
	lingerIdle = 10 * time.Second
	// lingerPause is the time between the end of draining and the close.
	lingerPause = 500 * time.Millisecond
	// maxLingering is the number of connections that linger at once, and maxLingeringPerNetwork
	// that of one network.
	maxLingering           = 64
	maxLingeringPerNetwork = maxLingering / 4
	defaultLingerBytes     = 256 << 10
	defaultLingerTime      = 5 * time.Second
	// maxEarlyAnswer is the size of the answers that the kernel buffers whole. A client that reads
	// only when it has sent everything would never accept a larger one.
	maxEarlyAnswer = 64 << 10
)

// beforeHeader decides, before the answer's header is written, whether the answer is sent early.
// Otherwise net/http first reads up to 256 KiB of the body itself.
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

// linger drains the body after an early answer. The request is already logged and counted by then.
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
	case err == nil, b.pastLimit(): // more may follow, which is not read
		time.Sleep(lingerPause)
	}
	x.abort()
}

// drain reads what is left of a body, up to most bytes. It returns io.EOF at the end of the body,
// and nil if there is more.
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
		// One more byte shows the end of a body of exactly that size.
		n, err := b.src.Read(buf[:min(copyBuffer, most+1)])
		most -= int64(n)
		s.options.Drained(n)
		if errors.Is(err, http.ErrBodyReadAfterClose) { // net/http read the body to its end and closed it
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

// StopLingering makes connections stop lingering, now and from now on, so that a shutdown does not
// wait for them.
func (s *Server) StopLingering() { s.lingers.stop() }

// lingerSlots are the places for lingering connections: their bodies, with the networks of their
// clients.
type lingerSlots struct {
	mu      sync.Mutex
	open    map[*Body]netip.Prefix
	stopped bool
}

// acquire takes a slot for a body. It reports whether there is one for its network.
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

// release gives back the slot of a body, if it has one.
func (l *lingerSlots) release(b *Body) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, b)
}

// stop ends the draining of all bodies, and gives out no more slots.
func (l *lingerSlots) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	for b := range l.open {
		b.interrupt()
	}
}

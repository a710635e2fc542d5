package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

const (
	// maxWait is how long a caller waits for a connection, including opening one.
	maxWait = 5 * time.Second
	// maxIdle is how long a connection is kept that nobody uses.
	maxIdle = 5 * time.Minute
	// maxAge is how long a connection is used. New ones find a changed password and follow a name
	// that leads to another server.
	maxAge = time.Hour
)

// errMaxWait is the cause of a context that ended because of maxWait.
var errMaxWait = fmt.Errorf("%w: no connection to the database within %v", db.ErrUnavailable, maxWait)

// pool lends connections. It prefers the one that was used last. It opens another one only when all
// open ones are lent.
//
// Bulk users, which are transactions and scans, hold a connection for several round trips. They
// never take the last quarter of the connections.
type pool struct {
	connect func(context.Context) (*conn, error)
	lent    chan struct{} // one element for each lent connection; the capacity is the maximum
	bulk    chan struct{} // one element for each connection lent to, or waited for by, a bulk user
	closed  atomic.Bool

	mu   sync.Mutex
	free []*conn // the one that was used last is the last
}

func newPool(max int, connect func(context.Context) (*conn, error)) *pool {
	return &pool{connect: connect, lent: make(chan struct{}, max), bulk: make(chan struct{}, bulkConns(max))}
}

// bulkConns returns how many of n connections bulk users may take.
func bulkConns(n int) int { return max(n-(n+3)/4, 1) }

// adopt adds an open connection. It must be called before get.
func (p *pool) adopt(c *conn) { p.free = append(p.free, c) }

// get returns a connection, which the caller returns with put. It waits until ctx ends, for at most
// maxWait.
func (p *pool) get(ctx context.Context, bulk bool) (*conn, error) {
	if p.closed.Load() {
		return nil, db.ErrClosed
	}
	if p.take(bulk) {
		if c := p.pop(); c != nil {
			return c, nil
		}
		p.release(bulk)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, errMaxWait)
	defer cancel()
	if err := p.waitFor(ctx, bulk); err != nil {
		return nil, err
	}
	if c := p.pop(); c != nil {
		return c, nil
	}
	c, err := p.connect(ctx)
	if err != nil {
		p.release(bulk)
		return nil, connectError(ctx, err)
	}
	return c, nil
}

// connectError returns the error for a connection that could not be opened.
func connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errMaxWait) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", db.ErrUnavailable, err)
}

// take reserves a connection if it need not wait.
func (p *pool) take(bulk bool) bool {
	if bulk && !trySend(p.bulk) {
		return false
	}
	if trySend(p.lent) {
		return true
	}
	if bulk {
		<-p.bulk
	}
	return false
}

// waitFor reserves a connection.
func (p *pool) waitFor(ctx context.Context, bulk bool) error {
	if bulk {
		if err := wait(ctx, p.bulk); err != nil {
			return err
		}
	}
	err := wait(ctx, p.lent)
	if err != nil && bulk {
		<-p.bulk
	}
	return err
}

func (p *pool) release(bulk bool) {
	<-p.lent
	if bulk {
		<-p.bulk
	}
}

// pop returns the connection that was used last, or nil.
func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free) - 1
	if last < 0 {
		return nil
	}
	c := p.free[last]
	p.free = p.free[:last]
	return c
}

// put returns a connection. err is the result of its last use: a connection that may not be used
// again is closed, and so are the idle ones if this one was lost, since they probably are too.
func (p *pool) put(c *conn, bulk bool, err error) {
	now := time.Now()
	keep, drop := c.reusable(err) && now.Sub(c.opened) < maxAge, []*conn(nil)
	p.mu.Lock()
	if !keep {
		drop = append(drop, c)
	}
	if connectionLost(err) {
		drop = append(drop, p.free...)
		p.free = nil
	}
	if len(p.free) > 0 && now.Sub(p.free[0].used) > maxIdle {
		drop = append(drop, p.free[0])
		p.free = append(p.free[:0], p.free[1:]...)
	}
	if keep {
		c.used = now
		p.free = append(p.free, c)
	}
	p.mu.Unlock()
	for _, c := range drop {
		c.close()
	}
	p.release(bulk)
}

// close waits for all lent connections to be returned, also to the callers that wait now, and
// closes them. Later calls do nothing.
func (p *pool) close() {
	if p.closed.Swap(true) {
		return
	}
	// What is sent here is never received: afterwards no connection is lent.
	for range cap(p.bulk) {
		p.bulk <- struct{}{}
	}
	for range cap(p.lent) {
		p.lent <- struct{}{}
	}
	for c := p.pop(); c != nil; c = p.pop() {
		c.close()
	}
}

func trySend(slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// wait takes a slot. It returns the cause of the end of ctx if that is earlier.
func wait(ctx context.Context, slots chan struct{}) error {
	if trySend(slots) {
		return nil
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

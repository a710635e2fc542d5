package sqlite

import (
	"context"
	"errors"
	"sync"

	"github.com/berth-registry/berth/internal/db"
)

// pool lends connections. It prefers the one used last, whose cache is warm,
// and opens another only when all that are open are lent.
type pool struct {
	connect func() (*conn, error)
	lent    chan struct{} // has an element for each connection that is lent; its capacity bounds them
	closed  chan struct{} // closed by close

	mu   sync.Mutex
	free []*conn
}

func newPool(max int, connect func() (*conn, error)) *pool {
	return &pool{connect: connect, lent: make(chan struct{}, max), closed: make(chan struct{})}
}

// adopt adds a connection that is open already, before any is lent.
func (p *pool) adopt(c *conn) { p.free = append(p.free, c) }

// get returns a connection, which the caller gives back with put. While all are lent it waits,
// until ctx ends: without a wait the end of ctx changes nothing.
func (p *pool) get(ctx context.Context) (*conn, error) {
	select {
	case <-p.closed:
		return nil, db.ErrClosed
	default:
	}
	select {
	case p.lent <- struct{}{}:
		return p.take()
	default:
	}
	select {
	case p.lent <- struct{}{}:
		return p.take()
	case <-p.closed:
		return nil, db.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// take returns a free connection, or a new one.
func (p *pool) take() (*conn, error) {
	p.mu.Lock()
	if last := len(p.free) - 1; last >= 0 {
		c := p.free[last]
		p.free = p.free[:last]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.connect()
	if err != nil {
		<-p.lent
		return nil, wrapNoSpace(err)
	}
	return c, nil
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	p.free = append(p.free, c)
	p.mu.Unlock()
	<-p.lent
}

// close waits until every connection came back, and closes them. It is called once.
func (p *pool) close() error {
	close(p.closed)
	for range cap(p.lent) {
		p.lent <- struct{}{} // and keeps it: none is lent any more
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.free {
		errs = append(errs, c.close())
	}
	p.free = nil
	return errors.Join(errs...)
}

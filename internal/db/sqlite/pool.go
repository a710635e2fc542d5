package sqlite

import (
	"context"
	"errors"
	"sync"

	"github.com/berth-registry/berth/internal/db"
)

// pool lends connections. It prefers the one that was used last, because its cache is warm. It
// opens another one only when all open ones are lent.
type pool struct {
	connect func() (*conn, error)
	lent    chan struct{} // one element for each lent connection; the capacity is the maximum
	closed  chan struct{} // closed by close

	mu   sync.Mutex
	free []*conn
}

func newPool(max int, connect func() (*conn, error)) *pool {
	return &pool{connect: connect, lent: make(chan struct{}, max), closed: make(chan struct{})}
}

// adopt adds an open connection. It must be called before get.
func (p *pool) adopt(c *conn) { p.free = append(p.free, c) }

// get returns a connection, which the caller returns with put. While all are lent, it waits until
// ctx ends. If it need not wait, it succeeds even if ctx has ended.
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
		return nil, wrapFault(err)
	}
	return c, nil
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	p.free = append(p.free, c)
	p.mu.Unlock()
	<-p.lent
}

// close waits for all lent connections to be returned and closes them. It must be called once.
func (p *pool) close() error {
	close(p.closed)
	for range cap(p.lent) {
		p.lent <- struct{}{} // never received: afterwards no connection is lent
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

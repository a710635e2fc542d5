package sqlite

import (
	"context"
	"slices"
	"sync"

	"github.com/berth-registry/berth/internal/db"
)

// queue lets one caller at a time be the leader, who owns the writer's
// connection and runs the functions of those that wait.
type queue struct {
	mu      sync.Mutex
	waiting []*call
	leading bool
	closed  bool
	idle    chan struct{} // closed when the last leader is done after close
}

// join waits until the call has run, or until its caller is the leader and
// has to run it. When ctx ends before, the call leaves the queue and has not run.
func (q *queue) join(ctx context.Context, c *call) (leader bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false, db.ErrClosed
	}
	if !q.leading {
		q.leading = true
		q.mu.Unlock()
		return true, nil
	}
	q.waiting = append(q.waiting, c)
	q.mu.Unlock()

	select {
	case leader = <-c.wake:
		return leader, nil
	case <-ctx.Done():
	}
	if q.leave(c) {
		return false, ctx.Err()
	}
	if leader = <-c.wake; leader {
		q.handOff()
		return false, ctx.Err()
	}
	return false, nil
}

// leave takes a call out of the queue, if it is still there.
func (q *queue) leave(c *call) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, c)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// follower takes the next call for the batch of the leader, or nil if there is none that may join
// it.
func (q *queue) nextFollower() *call {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.waiting[0].alone {
		return nil
	}
	return q.pop()
}

func (q *queue) pop() *call {
	c := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	return c
}

// handOff makes the call that waits longest the next leader, so that no caller works for the others
// for ever.
func (q *queue) handOff() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		q.pop().wake <- true
		return
	}
	q.leading = false
	if q.closed {
		close(q.idle)
	}
}

// close waits until the calls in the queue have run, and lets no others in. It returns false if the
// queue was closed before.
func (q *queue) close() bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.closed = true
	q.idle = make(chan struct{})
	if !q.leading {
		close(q.idle)
	}
	q.mu.Unlock()
	<-q.idle
	return true
}

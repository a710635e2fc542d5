package sqlite

import (
	"context"
	"slices"
	"sync"

	"github.com/berth-registry/berth/internal/db"
)

// queue makes one call at a time the leader. The leader owns the connection that writes, and runs
// the functions of the calls that wait.
type queue struct {
	mu      sync.Mutex
	waiting []*call
	leading bool
	closed  bool
	idle    chan struct{} // made by close, and closed when there is no leader any more
}

// join waits until a leader has finished the call, or until the call is itself the leader and the
// caller must run it. If ctx ends first, the call leaves the queue, does not run, and join returns
// the error of ctx.
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

// leave removes a call from the queue and reports whether it was still there.
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

// nextFollower removes the next call for the leader's batch from the queue. It returns nil if there
// is none, or if the next one must not share a commit.
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

// handOff makes the longest waiting call the next leader, so that no caller leads batches
// indefinitely.
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

// close closes the queue for new calls and waits until the calls in it have run. It returns false
// if the queue was closed before.
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

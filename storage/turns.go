package storage

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/berth-registry/berth/storage/meta"
)

// maxDecisions is how many transactions of this process decide about one repository at once: one
// has the lock of the repository's row, and one waits for it. The others wait here, in order, and
// hold no connection. Otherwise the pushes to one repository could take all connections.
const maxDecisions = 2

// turns has a queue for each repository that transactions decide about. The zero value is ready
// for use.
type turns struct {
	mu     sync.Mutex
	queues map[string]*turnQueue // guarded by mu
}

type turnQueue struct {
	turns *semaphore.Weighted // in the order of the calls
	users int                 // calls that wait or have a turn; guarded by turns.mu
}

// take waits for a turn of a repository. The caller has to call done.
func (t *turns) take(ctx context.Context, repo string) (done func(), err error) {
	q := t.join(repo)
	if err := q.turns.Acquire(ctx, 1); err != nil {
		t.leave(repo, q)
		return nil, err
	}
	return func() { q.turns.Release(1); t.leave(repo, q) }, nil
}

func (t *turns) join(repo string) *turnQueue {
	t.mu.Lock()
	defer t.mu.Unlock()
	q, ok := t.queues[repo]
	if !ok {
		if t.queues == nil {
			t.queues = map[string]*turnQueue{}
		}
		q = &turnQueue{turns: semaphore.NewWeighted(maxDecisions)}
		t.queues[repo] = q
	}
	q.users++
	return q
}

func (t *turns) leave(repo string, q *turnQueue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(t.queues, repo)
	}
}

// decide runs a transaction that decides by the rows of a repository, and so begins with the lock
// of the repository's row.
func (r *Registry) decide(ctx context.Context, repo string, fn func(tx *meta.Tx) error) error {
	if r.db.Exclusive() { // transactions wait for no lock
		return r.tx(ctx, fn)
	}
	done, err := r.turns.take(ctx, repo)
	if err != nil {
		return err
	}
	defer done()
	return r.tx(ctx, fn)
}

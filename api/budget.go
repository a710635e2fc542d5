package api

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// memoryWait is the maximum time that a request waits for memory.
const memoryWait = 10 * time.Second

// budget is an amount of memory that requests share. Requests that wait are served in order of
// arrival. One caller may hold a quarter, so that memory is left for the others, or as much as the
// largest request needs if that is more.
type budget struct {
	total     int64 // bytes
	perCaller int64 // maximum for one caller, in bytes
	free      *semaphore.Weighted

	mu     sync.Mutex
	shares map[charged]*share // of the callers whose requests hold or wait for memory
}

// charged is the account or, without one, the network that memory and upload sessions are charged
// to.
type charged struct {
	owner   string
	network netip.Prefix
}

// String returns the account in the form of auth.Identity.Owner, or the network. The two forms
// cannot be equal.
func (p charged) String() string {
	if p.owner != "" {
		return p.owner
	}
	return p.network.String()
}

// share is the memory that one caller may hold.
type share struct {
	free  *semaphore.Weighted
	users int // number of requests that hold or wait for memory; guarded by budget.mu
}

// newBudget returns a budget of total bytes, at least largest, which is the size of the largest
// request.
func newBudget(total, largest int64) *budget {
	total = max(total, largest, 1)
	return &budget{
		total: total, perCaller: max(total/4, largest, 1),
		free: semaphore.NewWeighted(total), shares: make(map[charged]*share),
	}
}

// reserve takes n bytes, or the maximum for one caller if that is less, in one step. It waits up to
// memoryWait.
//
// Errors: errNoMemory after memoryWait, and that of ctx.
func (b *budget) reserve(ctx context.Context, who charged, n int64) (release func(), err error) {
	n = min(n, b.perCaller)
	own := b.joinShare(who)
	if err := acquire(ctx, n, own.free, b.free); err != nil {
		b.leaveShare(who, own)
		return nil, err
	}
	return func() {
		b.free.Release(n)
		own.free.Release(n)
		b.leaveShare(who, own)
	}, nil
}

// acquire takes n from both semaphores, or from neither.
func acquire(ctx context.Context, n int64, own, all *semaphore.Weighted) error {
	if own.TryAcquire(n) {
		if all.TryAcquire(n) {
			return nil
		}
		own.Release(n)
	}
	waiting, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	err := own.Acquire(waiting, n)
	if err == nil {
		if err = all.Acquire(waiting, n); err != nil {
			own.Release(n)
		}
	}
	if err != nil && ctx.Err() == nil {
		return errNoMemory
	}
	return err
}

// joinShare returns the share of a caller. leaveShare must follow.
func (b *budget) joinShare(who charged) *share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shares[who]
	if s == nil {
		s = &share{free: semaphore.NewWeighted(b.perCaller)}
		b.shares[who] = s
	}
	s.users++
	return s
}

func (b *budget) leaveShare(who charged, s *share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(b.shares, who)
	}
}

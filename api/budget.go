package api

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// memoryWait is how long a request waits for memory that others hold.
const memoryWait = 10 * time.Second

// budget is an amount of memory that requests share. Those that wait are served in the order in
// which they asked. One caller holds no more than a quarter, so that the others always find some,
// but as much as one request may need.
type budget struct {
	total     int64 // bytes
	perCaller int64 // the most that one caller may hold
	free      *semaphore.Weighted

	mu     sync.Mutex
	shares map[charged]*share // of the callers that hold or want some
}

// payer is who is charged for memory: an account or, without one, a network.
type charged struct {
	owner   string
	network netip.Prefix
}

// String is an account as auth.Identity.Owner has it, or a network, which never looks like one.
func (p charged) String() string {
	if p.owner != "" {
		return p.owner
	}
	return p.network.String()
}

// share is what one caller may hold.
type share struct {
	free  *semaphore.Weighted
	users int // requests that hold or want some; guarded by the budget
}

// newBudget returns a budget of which one caller may have a quarter, and largest at least.
func newBudget(all, largest int64) *budget {
	all = max(all, largest, 1)
	return &budget{total: all, perCaller: max(all/4, largest, 1), free: semaphore.NewWeighted(all), shares: make(map[charged]*share)}
}

// reserve takes n bytes in one step, or as much as one caller may have if that is less. It waits,
// for a while, for requests that came before.
//
// Errors: errBusy, and that of ctx.
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

// acquire takes n of each, or nothing.
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

// join returns the share of a caller, which it must leave.
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

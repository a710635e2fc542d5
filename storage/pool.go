package storage

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/storage/meta"
)

// A POST is answered when the rows of its session are durable. If the database is exclusive to this
// process, one transaction makes the rows of many sessions in advance. These spare sessions belong
// to no caller, and no client knows their ids. A POST takes one and writes nothing.
//
// The caller of a taken session is written by the first transaction that changes the session, or by
// the next one of the pool. If the process dies before that, the session is still empty. It then
// belongs to the caller that presents its id.

const (
	maxSpares     = 64              // how many sessions one transaction makes at most
	maxStale      = 1024            // how many sessions are kept to be removed; others expire
	retireTimeout = 5 * time.Second // for the transaction of a stop
)

// sessionPool has the spare sessions of one process. A goroutine holds the turn while it takes a
// session or changes the pool.
type sessionPool struct {
	turn      chan struct{}    // has an element while the turn is held
	spares    []reservation    // needs the turn
	stale     []string         // needs the turn: ids of spare sessions to be removed
	batchSize int              // needs the turn: how many sessions the last transaction made
	remaining map[string]int64 // needs the turn: sessions to open before usage is read, by charged

	mu    sync.Mutex
	taken map[string]meta.Upload // guarded by mu: open sessions whose rows are still spare, by id
}

func newSessionPool() *sessionPool {
	return &sessionPool{turn: make(chan struct{}, 1), remaining: map[string]int64{}, taken: map[string]meta.Upload{}}
}

// takenSessions returns all open sessions whose rows are still spare, by id.
func (p *sessionPool) takenSessions() map[string]meta.Upload {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.taken)
}

// forget removes a session from the taken ones.
func (p *sessionPool) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, id)
}

// takeSession opens a session that was made in advance, and makes a batch if there is none. It
// returns up with its id and the time of its last use.
// Errors: ErrTooManyUploads.
func (r *Registry) takeSession(ctx context.Context, up meta.Upload) (meta.Upload, error) {
	p, now := r.pool, r.now()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return up, ctx.Err()
	}
	if err := r.admitPooled(ctx, up.Charged, now); err != nil {
		return up, err
	}
	if len(p.spares) == 0 || !now.Before(p.spares[0].usableUntil) {
		// Batches double: at most about as many sessions stay unused as were used.
		if err := r.changePool(ctx, max(1, min(2*p.batchSize, maxSpares)), now); err != nil {
			return up, err
		}
	}
	reserved := p.spares[len(p.spares)-1]
	p.spares = p.spares[:len(p.spares)-1]
	up.ID, up.UpdatedAt = reserved.up.ID, reserved.up.UpdatedAt
	reserved.up = up
	p.mu.Lock()
	p.taken[up.ID] = up
	p.mu.Unlock()
	r.reservations.add(up.ID, reserved, len(up.ID)+len(up.Repository)+len(reserved.key))
	return up, nil
}

// changePool writes the callers of the taken sessions to their rows, and replaces the spare
// sessions by size new ones. The goroutine must hold the turn.
func (r *Registry) changePool(ctx context.Context, size int, now time.Time) error {
	p := r.pool
	for _, spare := range p.spares {
		p.stale = append(p.stale, spare.up.ID)
	}
	p.spares = nil
	clear(p.remaining)
	taken, stale := p.takenSessions(), p.stale
	spares, keys := make([]reservation, size), make(map[string]string, size)
	for i := range spares {
		up := meta.Upload{ID: r.newUploadID(), NextPart: 1, UpdatedAt: r.sessionTime(now)}
		spares[i] = reservation{up: up, key: r.newKey(0), usableUntil: now.Add(min(writerLease/2, r.opts.UploadExpiry/4))}
		keys[spares[i].key] = up.ID
		p.stale = append(p.stale, up.ID) // until it is known that the row is there
	}
	err := r.tx(ctx, func(tx *meta.Tx) error {
		if err := tx.AssignUploads(slices.Collect(maps.Values(taken))); err != nil {
			return err
		}
		if err := tx.RemoveSpareUploads(stale); err != nil {
			return err
		}
		return tx.CreateSpareUploads(keys, r.sessionTime(now), now.Add(writerLease).UnixMicro())
	})
	if err != nil {
		p.stale = p.stale[max(0, len(p.stale)-maxStale):]
		return err
	}
	for id := range taken {
		p.forget(id)
	}
	p.spares, p.stale, p.batchSize = spares, nil, size
	return nil
}

// retireSpares removes the spare sessions, so that none expires in the pool, and writes the callers
// of the taken ones.
func (r *Registry) retireSpares(ctx context.Context) error {
	select {
	case r.pool.turn <- struct{}{}:
		defer func() { <-r.pool.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if len(r.pool.spares)+len(r.pool.stale)+len(r.pool.takenSessions()) == 0 {
		return nil
	}
	return r.changePool(ctx, 0, r.now())
}

// retireAtStop is retireSpares when the jobs end, and ctx with them. Spare sessions that it cannot
// remove expire.
func (r *Registry) retireAtStop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retireTimeout)
	defer cancel()
	if err := r.retireSpares(ctx); err != nil {
		r.log.Warn("spare upload sessions were not removed and will expire", "error", err)
	}
}

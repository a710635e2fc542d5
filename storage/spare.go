package storage

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// A POST that opens a session is answered when the session's rows are durable. A client that
// pushes an image opens one session after another, so the transaction of one POST makes those of
// the next ones too. Such a spare session is like any other, except that until it is given away its
// id and its key are known to this process alone.

const (
	maxSpares  = 16          // how many sessions one transaction makes at most, where fewer wait
	maxOpeners = 256         // for whom spare sessions are kept; others get sessions one by one
	spareLife  = time.Minute // how long a session may be spare; less where sessions expire soon
	removeTime = 5 * time.Second
)

// opener is what sessions that may stand for each other have in common.
type opener struct {
	caller Caller
	repo   string
	alg    digest.Algorithm
}

// spares has the spare sessions of those who opened some lately.
type spares struct {
	life time.Duration

	mu       sync.Mutex // guards what follows, and the shelves
	byOpener map[opener]*shelf
}

// shelf has the spare sessions of one opener.
type shelf struct {
	turn chan struct{} // has an element while a request takes a session or makes some

	listed  bool          // in byOpener: what is put here will be found
	free    []reservation // the youngest last
	waiting int           // requests that want a session, with the one whose turn it is
	given   int           // how many got one since
	since   time.Time     // when given was 0
	used    time.Time
}

func newSpares(expiry time.Duration) *spares {
	return &spares{life: min(spareLife, expiry/8), byOpener: map[opener]*shelf{}}
}

// enter returns the shelf of an opener to a request that wants a session, and will leave.
func (s *spares) enter(o opener, now time.Time) *shelf {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.byOpener[o]
	if sh == nil {
		sh = &shelf{turn: make(chan struct{}, 1), since: now, listed: len(s.byOpener) < maxOpeners}
		if sh.listed {
			s.byOpener[o] = sh
		}
	}
	sh.waiting++
	sh.used = now
	return sh
}

func (s *spares) leave(sh *shelf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.waiting--
}

// take gives a spare session away. Where there is none, missing is how many to make: as many as
// wait, and as many as this opener had lately, so that those made for nothing are never more than
// those used.
func (s *spares) take(sh *shelf, now time.Time) (first reservation, missing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(sh.since) > s.life {
		sh.given, sh.since = 0, now
	}
	sh.given++
	if last := len(sh.free) - 1; last >= 0 && now.Sub(sh.free[last].made) < s.life {
		first = sh.free[last]
		sh.free = sh.free[:last]
		return first, 0
	}
	if !sh.listed {
		return first, 1
	}
	return first, max(sh.waiting, min(maxSpares, sh.given))
}

// put keeps sessions for the next ones who take.
func (s *spares) put(sh *shelf, made []reservation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.free = append(sh.free, made...)
}

// remove takes away the spare sessions that were made before a time, so that nobody gets them any
// more, and forgets who opened none since.
func (s *spares) remove(before time.Time) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o, sh := range s.byOpener {
		sh.free = slices.DeleteFunc(sh.free, func(spare reservation) bool {
			old := spare.made.Before(before)
			if old {
				ids = append(ids, spare.up.ID)
			}
			return old
		})
		if len(sh.free) == 0 && sh.waiting == 0 && sh.used.Before(before) {
			delete(s.byOpener, o)
		}
	}
	return ids
}

// count is how many sessions are spare.
func (s *spares) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.byOpener {
		n += len(sh.free)
	}
	return n
}

// newSession returns a session that nobody else has. Its row is durable, and so is that of the
// object that its first bytes go to.
func (r *Registry) newSession(ctx context.Context, caller Caller, repo string, alg digest.Algorithm) (reservation, error) {
	sh := r.spares.enter(opener{caller, repo, alg}, r.opts.Now())
	defer r.spares.leave(sh)
	select {
	case sh.turn <- struct{}{}:
		defer func() { <-sh.turn }()
	case <-ctx.Done():
		return reservation{}, ctx.Err()
	}
	first, missing := r.spares.take(sh, r.opts.Now())
	if missing == 0 {
		return first, nil
	}
	drafts := r.draftSessions(caller, repo, alg, missing)
	made, err := r.makeSessions(ctx, drafts)
	if errors.Is(err, ErrTooManyUploads) && r.spares.count() > 0 { // those that nobody opened do not count
		if err = r.removeSparesOf(ctx, r.opts.Now()); err == nil {
			made, err = r.makeSessions(ctx, drafts[:1])
		}
	}
	if err != nil {
		return reservation{}, err
	}
	r.spares.put(sh, drafts[1:made])
	return drafts[0], nil
}

// draftSessions returns n sessions that have no rows yet.
func (r *Registry) draftSessions(caller Caller, repo string, alg digest.Algorithm, n int) []reservation {
	now := r.opts.Now()
	drafts := make([]reservation, n)
	for i := range drafts {
		drafts[i] = reservation{
			up: meta.Upload{ID: r.uploadID(), Repository: repo, Owner: caller.Owner, Charged: caller.Charged, Algorithm: alg.String(),
				NextPart: 1, UpdatedAt: r.sessionTime(now)},
			key:   r.newKey(0),
			made:  now,
			until: now.Add(min(writerLease/2, r.opts.UploadExpiry/4)),
		}
	}
	return drafts
}

// makeSessions makes the rows of sessions that differ in id and key alone: of the first ones that
// their caller may open, or of none.
// Errors: ErrTooManyUploads.
func (r *Registry) makeSessions(ctx context.Context, drafts []reservation) (made int64, err error) {
	writerUntil := drafts[0].made.Add(writerLease).UnixMicro()
	err = r.tx(ctx, func(tx *meta.Tx) (err error) {
		if made, err = r.admit(tx, drafts[0].up.Charged, int64(len(drafts))); err != nil {
			return err
		}
		ids, first := make([]string, made), make(map[string]string, made)
		for i, d := range drafts[:made] {
			ids[i], first[d.key] = d.up.ID, d.up.ID
		}
		if err := tx.CreateUploads(drafts[0].up, ids); err != nil {
			return err
		}
		return tx.ReserveFirstObjects(first, writerUntil)
	})
	return made, err
}

// removeSpares removes the sessions that were spare for too long, with all their rows: nobody was
// told of them, so nothing was written to their keys. Those that cannot be removed now expire like
// other sessions.
func (r *Registry) removeSpares(ctx context.Context) error {
	return r.removeSparesOf(ctx, r.opts.Now().Add(-r.spares.life))
}

// removeSparesOf removes the spare sessions that were made before a time, also when ctx has ended.
func (r *Registry) removeSparesOf(ctx context.Context, before time.Time) error {
	ids := r.spares.remove(before)
	if len(ids) == 0 {
		return nil
	}
	// A stop in this moment does not keep the rows: nobody else knows of them any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	return r.tx(ctx, func(tx *meta.Tx) error { return tx.RemoveUnusedUploads(ids) })
}

package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/berth-registry/berth/storage/meta"
)

// Rows decide what one caller may have in progress. They are read when a session is opened (see
// admitPooled) and in the transaction that reserves the key of a chunk. A chunk with an announced
// length gets an allowance of that length. A chunk without one gets a small allowance, which is
// extended each time it is used up.
//
// The first body of a session gets initialAllowance without a transaction, since its key was
// reserved with the session. So a caller may exceed the limit by initialAllowance for each of its
// sessions in Registry.reservations.
//
// Where transactions run beside each other, requests that begin at the same moment do not see each
// other, and each of them may exceed the limit once. A lock for each caller would cost every POST.

// initialAllowanceDivisor is the limit divided by initialAllowance.
const initialAllowanceDivisor = 16384

// initialAllowance returns how many bytes a body may have before its allowance is first extended,
// if its length is not known or it is the first of its session.
func (r *Registry) initialAllowance() int64 {
	if r.opts.MaxInProgress == 0 {
		return math.MaxInt64
	}
	return r.opts.MaxInProgress / initialAllowanceDivisor
}

// limited reports whether callers have limits.
func (r *Registry) limited() bool { return r.opts.MaxSessions > 0 || r.opts.MaxInProgress > 0 }

// usage returns the usage of charged, or zero without limits.
func (r *Registry) usage(tx *meta.Tx, charged string) (meta.Usage, error) {
	if !r.limited() {
		return meta.Usage{}, nil
	}
	return tx.Usage(charged, r.nowMicro())
}

// admitSession checks that a caller with this usage may open another session.
// Errors: ErrTooManyUploads.
func (r *Registry) admitSession(used meta.Usage) error {
	if r.opts.MaxInProgress > 0 && used.Bytes >= r.opts.MaxInProgress {
		return r.tooManyBytes(used.Bytes, 0)
	}
	if r.opts.MaxSessions > 0 && used.Sessions >= r.opts.MaxSessions {
		return errorf(ErrTooManyUploads, "you have %d upload sessions open, and %d is the most that one caller may have: finish or cancel some, or wait until they expire",
			used.Sessions, r.opts.MaxSessions)
	}
	return nil
}

// admitPooled checks that a caller may take a session of the pool. Its usage is read at least once
// a batch, and when it may have reached its limit. That is enough, since no other process opens
// sessions. The goroutine must hold the turn.
// Errors: ErrTooManyUploads.
func (r *Registry) admitPooled(ctx context.Context, charged string, now time.Time) error {
	p := r.pool
	if !r.limited() {
		return nil
	}
	if p.remaining[charged] > 0 {
		p.remaining[charged]--
		return nil
	}
	// Before the rows, so that a session that changes meanwhile counts twice and not never.
	taken := p.takenSessions()
	used, err := r.db.Usage(ctx, charged, now.UnixMicro())
	if err != nil {
		return err
	}
	for _, up := range taken {
		if up.Charged == charged {
			used.Sessions++
		}
	}
	if err := r.admitSession(used); err != nil {
		return err
	}
	// A caller with more than half of its bytes may reach that limit within the batch.
	if r.opts.MaxInProgress == 0 || used.Bytes <= r.opts.MaxInProgress/2 {
		p.remaining[charged] = r.opts.MaxSessions - used.Sessions - 1
	}
	return nil
}

// admitRequest returns the allowance of a request that begins: its length, or initialAllowance if
// the length is not known.
// Errors: ErrTooManyUploads.
func (r *Registry) admitRequest(tx *meta.Tx, charged string, length int64) (int64, error) {
	used, err := r.usage(tx, charged)
	if err != nil {
		return 0, err
	}
	if r.opts.MaxSessions > 0 && used.Requests >= r.opts.MaxSessions {
		return 0, errorf(ErrTooManyUploads, "you have %d requests with bytes, and %d is the most that one caller may have: wait until some have ended",
			used.Requests, r.opts.MaxSessions)
	}
	if length < 0 {
		return r.allow(used, 1, r.initialAllowance())
	}
	return r.allow(used, length, length)
}

// allow returns how many more bytes a request may receive: want, or what is left if that is less.
// It fails if less than need is left.
// Errors: ErrTooManyUploads.
func (r *Registry) allow(used meta.Usage, need, want int64) (int64, error) {
	if r.opts.MaxInProgress == 0 {
		return math.MaxInt64, nil
	}
	left := r.opts.MaxInProgress - used.Bytes
	if left < max(need, 1) {
		return 0, r.tooManyBytes(used.Bytes, need)
	}
	return min(max(want, need), left), nil
}

func (r *Registry) tooManyBytes(used, more int64) error {
	text := fmt.Sprintf("your uploads in progress hold %d bytes", used)
	if more > 0 {
		text += fmt.Sprintf(" and this one has %d more", more)
	}
	return errorf(ErrTooManyUploads, "%s, and %d is the most that one caller may have: finish or cancel some, or wait until they expire", text, r.opts.MaxInProgress)
}

// rowAllowance returns the row's allowance for allowed bytes. It is zero without limits.
func (r *Registry) rowAllowance(charged string, allowed int64) meta.Allowance {
	switch {
	case r.opts.MaxInProgress > 0:
		return meta.Allowance{Charged: charged, Bytes: allowed}
	case r.opts.MaxSessions > 0:
		return meta.Allowance{Charged: charged}
	}
	return meta.Allowance{}
}

// extendAllowance extends the allowance of the request that writes an upload's object, to at least
// need bytes in all. It returns the new allowance.
// Errors: ErrTooManyUploads, ErrUploadUnknown.
func (r *Registry) extendAllowance(
	ctx context.Context, up meta.Upload, key string, need, want int64,
) (allowed int64, err error) {
	err = r.tx(ctx, func(tx *meta.Tx) error {
		old, err := tx.Allowed(key, up.ID)
		if err != nil {
			return err
		}
		used, err := r.usage(tx, up.Charged)
		if err != nil {
			return err
		}
		added, err := r.allow(used, need-old, want-old)
		if err != nil {
			return err
		}
		allowed = old + added
		return tx.SetAllowance(key, r.rowAllowance(up.Charged, allowed))
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = unknownUploadError(up.ID)
	}
	return allowed, err
}

// allowAnnounced sets the allowance of the first body of a session. An announced length above
// initialAllowance needs a transaction.
// Errors: as extendAllowance.
func (r *Registry) allowAnnounced(ctx context.Context, up meta.Upload, key string, c *Chunk) (err error) {
	if c.allowed = r.initialAllowance(); c.Length > c.allowed {
		c.allowed, err = r.extendAllowance(ctx, up, key, c.Length, c.Length)
	}
	return err
}

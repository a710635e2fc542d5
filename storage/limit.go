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

// What one caller may have in progress is decided by rows, in the transaction that opens a session
// or reserves the key of a chunk: a chunk is allowed its announced length there, or as much as it
// is given when nothing was announced, and asks again when it has received that. Only the first
// body of a session, whose key was reserved with it, asks for nothing while it is small. So a
// caller may exceed the limit by unasked bytes for each of the sessions that are remembered (see
// reserved).

// unaskedPart is which part of the limit a first body may have without asking.
const freeBytesDivisor = 16384

// unasked is how many bytes the first body of a session may have before it asks for more.
func (r *Registry) freeBytes() int64 {
	if r.opts.MaxInProgress == 0 {
		return math.MaxInt64
	}
	return r.opts.MaxInProgress / freeBytesDivisor
}

// limited reports whether callers have limits.
func (r *Registry) limited() bool { return r.opts.MaxSessions > 0 || r.opts.MaxInProgress > 0 }

// usage returns what counts for a caller, where there are limits.
func (r *Registry) usage(tx *meta.Tx, charged string) (meta.Usage, error) {
	if !r.limited() {
		return meta.Usage{}, nil
	}
	return tx.Usage(charged, r.nowMicro())
}

// admit checks that a caller with this usage may open another session.
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

// admitToPool checks that a client may open another session. What counts for it is read once a
// batch, and when it may have reached its limit: no other process opens sessions. The caller holds
// the turn.
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
	taken := p.takenSessions() // before the rows: a session that changes meanwhile counts twice, not never
	used, err := r.db.Usage(ctx, charged, now.UnixMicro())
	if err != nil {
		return err
	}
	for _, up := range taken {
		if up.Charged == charged {
			used.Sessions++
		}
	}
	p.remaining[charged] = r.opts.MaxSessions - used.Sessions - 1
	return r.admitSession(used)
}

// admitRequest returns how many bytes the request that begins may receive before it asks again: its
// length, or as many as need no asking where that is not known.
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
		return r.allow(used, 1, r.freeBytes())
	}
	return r.allow(used, length, length)
}

// grant returns how many more bytes somebody may receive: as many as wanted or, if that is less, as
// many as are left, which are those that are needed at least.
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

// allowance is that of a request that may receive so many bytes.
func (r *Registry) rowAllowance(charged string, allowed int64) meta.Allowance {
	switch {
	case r.opts.MaxInProgress > 0:
		return meta.Allowance{Charged: charged, Bytes: allowed}
	case r.opts.MaxSessions > 0:
		return meta.Allowance{Charged: charged}
	}
	return meta.Allowance{}
}

// extend extends the allowance of the request that writes an upload's object, to at least need
// bytes in all, and returns how many they are now.
// Errors: ErrTooManyUploads, ErrUploadUnknown.
func (r *Registry) extendAllowance(ctx context.Context, up meta.Upload, key string, need, want int64) (allowed int64, err error) {
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

// allowLength allows the first body of a session its announced length, which has to be asked for
// unless it is small.
func (r *Registry) allowAnnounced(ctx context.Context, up meta.Upload, key string, c *Chunk) (err error) {
	if c.allowed = r.freeBytes(); c.Length > c.allowed {
		c.allowed, err = r.extendAllowance(ctx, up, key, c.Length, c.Length)
	}
	return err
}

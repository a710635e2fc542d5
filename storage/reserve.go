package storage

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// reservation is the key that the first bytes of a session go to, if they come soon. It was reserved
// when the session was made, which saves the first bytes a transaction of their own. No other
// process knows the key, so a session has a reservation only where the database is exclusive to this
// process.
type reservation struct {
	up    meta.Upload
	key   string
	until time.Time // when its first bytes have to come, to go to this key
}

// reservationBytes bounds the memory for reservations. A session whose reservation was forgotten
// makes another.
const reservationBytes = 1 << 20

// openSession opens a session. Its row is durable.
// Errors: ErrTooManyUploads.
func (r *Registry) openSession(ctx context.Context, caller Caller, repo string, alg digest.Algorithm) (meta.Upload, error) {
	now := r.opts.Now()
	up := meta.Upload{ID: r.uploadID(), Repository: repo, Owner: caller.Owner, Charged: caller.Charged,
		Algorithm: alg.String(), NextPart: 1, UpdatedAt: r.sessionTime(now)}
	if !r.db.Exclusive() {
		return up, r.tx(ctx, func(tx *meta.Tx) error {
			used, err := r.usage(tx, up.Charged)
			if err == nil {
				err = r.admit(used)
			}
			if err != nil {
				return err
			}
			return tx.CreateUpload(up)
		})
	}
	first, err := r.takeSession(ctx, up, now)
	if err == nil {
		r.reserved.add(first.up.ID, first, len(first.up.ID)+len(repo)+len(first.key))
	}
	return first.up, err
}

// begin finds an open session of the caller for a request. If the chunk has bytes, the row of the
// object that they go to is there when it returns, and key is that object's.
func (r *Registry) begin(ctx context.Context, caller, repo, id string, c *Chunk) (up meta.Upload, key string, err error) {
	has, err := c.hasBytes()
	if err != nil {
		up, _ = r.openUpload(ctx, caller, repo, id) // its size tells the client where to go on
		return up, "", err
	}
	if !has {
		if up, err = r.openUpload(ctx, caller, repo, id); err == nil {
			err = checkOffset(up, *c)
		}
		return up, "", err
	}
	now := r.opts.Now()
	if first, ok := r.reserved.take(id); ok && first.up.Repository == repo && first.up.Owner == caller && now.Before(first.until) {
		if err := checkOffset(first.up, *c); err != nil {
			return first.up, first.key, err
		}
		return first.up, first.key, r.allowLength(ctx, first.up, first.key, c)
	}
	err = r.tx(ctx, func(tx *meta.Tx) (err error) {
		session, ok := r.pool.session(id)
		if !ok {
			session = orphan(caller, repo, id)
		}
		if up, err = tx.BeginPart(session, r.sessionTime(now)); err != nil {
			up = meta.Upload{}
			return orUnknown(err, ErrUploadUnknown, "%v", uploadUnknown(id))
		}
		if up.Owner != caller || up.Repository != repo {
			up = meta.Upload{}
			return uploadUnknown(id)
		}
		if err := checkOffset(up, *c); err != nil {
			return err
		}
		if up.NextPart > maxParts {
			return errorf(ErrUploadInvalid, "the upload has %d chunks already: send larger ones", maxParts)
		}
		if c.allowed, err = r.admitRequest(tx, up.Charged, c.Length); err != nil {
			return err
		}
		key = r.newKey(up.NextPart - 1)
		return tx.ReserveObject(key, id, up.NextPart-1, now.Add(writerLease).UnixMicro(), r.allowance(up.Charged, c.allowed))
	})
	if err == nil {
		r.pool.forget(id)
	}
	return up, key, err
}

// renew extends the lease of the object that a request writes. When the session ended meanwhile,
// the object belongs to the deletion worker and must not appear any more: the error ends the write
// before the lease does.
func (r *Registry) renew(ctx context.Context, id, key string) error {
	now := r.opts.Now()
	err := r.tx(ctx, func(tx *meta.Tx) error {
		return tx.RenewLease(key, id, now.Add(writerLease).UnixMicro(), r.sessionTime(now))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return uploadUnknown(id)
	}
	return err
}

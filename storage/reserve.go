package storage

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// reservation is the key of a session's first object, valid until usableUntil. It is reserved with
// the session, which saves the first bytes a transaction of their own. No other process knows the
// key, so a session has a reservation only if the database is exclusive to this process.
type reservation struct {
	up          meta.Upload
	key         string
	usableUntil time.Time // first bytes that come later get another key
}

// reservationBytes is the size of the cache of reservations. A session without its reservation
// makes another.
const reservationBytes = 1 << 20

// openSession opens a session. Its row is durable.
// Errors: ErrTooManyUploads.
func (r *Registry) openSession(
	ctx context.Context, caller Caller, repo string, alg digest.Algorithm,
) (up meta.Upload, err error) {
	up = meta.Upload{Repository: repo, Owner: caller.Owner, Charged: caller.Charged, Algorithm: alg.String(), NextPart: 1}
	if r.db.Exclusive() {
		return r.takeSession(ctx, up)
	}
	up.ID, up.UpdatedAt = r.newUploadID(), r.sessionTime(r.now())
	err = r.tx(ctx, func(tx *meta.Tx) error {
		used, err := r.usage(tx, up.Charged)
		if err == nil {
			err = r.admitSession(used)
		}
		if err != nil {
			return err
		}
		return tx.CreateUpload(up)
	})
	return up, err
}

// beginRequest returns an open session of the caller. If the chunk has bytes, it also returns the
// key that is reserved for them. After some errors, up is the session too, for the answer.
func (r *Registry) beginRequest(
	ctx context.Context, caller, repo, id string, c *Chunk,
) (up meta.Upload, key string, err error) {
	hasBytes, err := c.hasBytes()
	if err != nil {
		up, _ = r.unfinishedUpload(ctx, caller, repo, id) // its size tells the client where to go on
		return up, "", err
	}
	if !hasBytes {
		if up, err = r.unfinishedUpload(ctx, caller, repo, id); err == nil {
			err = checkOffset(up, *c)
		}
		return up, "", err
	}
	now := r.now()
	reserved, ok := r.reservations.take(id)
	if ok && reserved.up.Repository == repo && reserved.up.Owner == caller && now.Before(reserved.usableUntil) {
		if err := checkOffset(reserved.up, *c); err != nil {
			return reserved.up, reserved.key, err
		}
		return reserved.up, reserved.key, r.allowAnnounced(ctx, reserved.up, reserved.key, c)
	}
	err = r.changeSession(ctx, id, func(tx *meta.Tx) (err error) {
		if up, err = tx.BeginPart(r.sessionOfSpare(caller, repo, id), r.sessionTime(now)); err != nil {
			up = meta.Upload{}
			return orUnknown(err, ErrUploadUnknown, "%v", unknownUploadError(id))
		}
		if up.Owner != caller || up.Repository != repo {
			up = meta.Upload{}
			return unknownUploadError(id)
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
		allowance := r.rowAllowance(up.Charged, c.allowed)
		return tx.ReserveObject(key, id, up.NextPart-1, now.Add(writerLease).UnixMicro(), allowance)
	})
	return up, key, err
}

// renew extends the lease of the object that a request writes. If the session has ended, the object
// belongs to the deletion worker and must not appear any more. The error then ends the write before
// the lease ends.
func (r *Registry) renew(ctx context.Context, id, key string) error {
	now := r.now()
	err := r.tx(ctx, func(tx *meta.Tx) error {
		return tx.RenewLease(key, id, now.Add(writerLease).UnixMicro(), r.sessionTime(now))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return unknownUploadError(id)
	}
	return err
}

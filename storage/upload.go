package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// An upload session is a row. Its states, and what changes them:
//
//	POST ─────> open ── PUT, the digest is right ──────────> finished ── about an hour ──> gone
//	            │  ^                                         (answers the same PUT again)
//	            │  └─ PATCH: size, hash state, parts grow
//	            └──── PUT, the digest is wrong; DELETE; no use for UploadExpiry ─────────> gone
//
// The bytes of each request are an object. Its row exists from before the first byte is written
// until after the last one is deleted. Its owner is one of three:
//
//	reserved ── complete and recorded ──> the session's ── PUT ──> the blob's
//	   │                                       │                       │
//	   │ failed, or its lease ended            │ the session is gone   │ damaged, and a push heals
//	   └──────────> the deletion worker's <────┴───────────────────────┘
//	                (after delete_after the object goes, and then the row)
//
// A reserved object also belongs to the session, but its size is unknown. Only its writer touches
// it until its lease (writer_until) ends.

// maxParts is how many requests with bytes one session may have.
const maxParts = 10000

// CreateUpload implements [Uploads].
func (r *Registry) CreateUpload(ctx context.Context, caller Caller, repo string, alg digest.Algorithm) (Upload, error) {
	if alg == "" {
		alg = digest.SHA256
	}
	// Fail now: a session that is opened on a full disk would count against the limit of its
	// caller.
	if err := r.bucket.CheckSpace(); err != nil {
		return Upload{}, bucketError(err)
	}
	up, err := r.openSession(ctx, caller, repo, alg)
	if err != nil {
		return Upload{}, err
	}
	return toUpload(up), nil
}

// Upload implements [Uploads].
func (r *Registry) Upload(ctx context.Context, caller, repo, id string) (Upload, error) {
	up, err := r.unfinishedUpload(ctx, caller, repo, id)
	return toUpload(up), err
}

func toUpload(up meta.Upload) Upload {
	return Upload{ID: up.ID, Size: up.Size, Algorithm: digest.Algorithm(up.Algorithm)}
}

func unknownUploadError(id string) error {
	return errorf(ErrUploadUnknown,
		"no upload session %.100q in this repository: it expired, ended or never was; begin anew with POST", id)
}

// callerUpload returns a session of the caller, open or finished.
// Errors: ErrUploadUnknown, also for the session of another caller.
func (r *Registry) callerUpload(ctx context.Context, caller, repo, id string) (meta.Upload, error) {
	spare := r.sessionOfSpare(caller, repo, id)
	up, err := r.db.Upload(ctx, repo, id)
	if err == nil && up.Repository == "" {
		up = spare
	}
	if err == nil && (up.Owner != caller || up.Repository != repo) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return meta.Upload{}, orUnknown(err, ErrUploadUnknown, "%v", unknownUploadError(id))
	}
	return up, nil
}

// sessionOfSpare returns the session of a spare row, for a caller that presents its id: the session
// that was taken, or else one of this caller. In that case an earlier process gave the session to a
// caller, and died before the row had the caller. Only that caller knows the id.
func (r *Registry) sessionOfSpare(caller, repo, id string) meta.Upload {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if up, ok := r.pool.taken[id]; ok {
		return up
	}
	return meta.Upload{ID: id, Repository: repo, Owner: caller, Charged: cmp.Or(caller, "anonymous"),
		Algorithm: digest.SHA256.String(), NextPart: 1}
}

// changeSession runs a transaction that writes the caller of a session to its row, or deletes it.
func (r *Registry) changeSession(ctx context.Context, id string, fn func(tx *meta.Tx) error) error {
	err := r.tx(ctx, fn)
	if err == nil {
		r.pool.forget(id)
	}
	return err
}

// unfinishedUpload returns a session of the caller that is not finished.
// Errors: ErrUploadUnknown.
func (r *Registry) unfinishedUpload(ctx context.Context, caller, repo, id string) (meta.Upload, error) {
	up, err := r.callerUpload(ctx, caller, repo, id)
	if err == nil && up.FinishedDigest != "" {
		return meta.Upload{}, unknownUploadError(id)
	}
	return up, err
}

// Append implements [Uploads].
func (r *Registry) Append(ctx context.Context, caller, repo, id string, c Chunk) (Upload, error) {
	// The request's context ends when the client disconnects, but the bytes that arrived are kept.
	ctx = context.WithoutCancel(ctx)
	up, key, err := r.beginRequest(ctx, caller, repo, id, &c)
	if err != nil || key == "" {
		return toUpload(up), err
	}
	sum := resumeHash(up, digest.Algorithm(up.Algorithm))
	p, clientErr, err := r.writePart(ctx, up, key, c, sum, true)
	if err != nil || p.size == 0 {
		return toUpload(up), errors.Join(err, clientErr)
	}
	if err := c.confirm(); err != nil {
		return Upload{}, errors.Join(err, r.releaseObject(ctx, p.key))
	}
	var state []byte // nil if the earlier state was lost: then the commit rehashes
	if sum != nil {
		if state, err = sum.MarshalBinary(); err != nil {
			return Upload{}, errors.Join(err, r.releaseObject(ctx, p.key))
		}
	}
	advanced := false
	now := r.nowMicro()
	err = r.changeSession(ctx, id, func(tx *meta.Tx) (err error) {
		advanced, err = tx.AdvanceUpload(up, up.Size+p.size, state, r.sessionTime(r.now()))
		if err != nil {
			return err
		}
		if !advanced {
			return tx.ReleaseObject(p.key, now)
		}
		return tx.RecordObject(p.key, p.size)
	})
	if err != nil {
		return Upload{}, err
	}
	if !advanced {
		return r.raceError(ctx, caller, repo, id)
	}
	up.Size += p.size
	return toUpload(up), clientErr
}

// raceError returns the session and the error for a chunk that lost a race with another request.
func (r *Registry) raceError(ctx context.Context, caller, repo, id string) (Upload, error) {
	r.wakeDeletionWorker()
	up, err := r.unfinishedUpload(ctx, caller, repo, id)
	if err != nil {
		return Upload{}, err
	}
	return toUpload(up), errorf(ErrRangeInvalid, "another request wrote to this upload session meanwhile: it has %d bytes now", up.Size)
}

func checkOffset(up meta.Upload, c Chunk) error {
	if c.Offset >= 0 && c.Offset != up.Size {
		return errorf(ErrRangeInvalid, "the chunk starts at byte %d, but the upload has %d bytes: the next chunk has to start there", c.Offset, up.Size)
	}
	return nil
}

// part is an object that a request has written, but not recorded yet.
type part struct {
	key  string
	size int64
}

// writePart streams a chunk into a reserved object and, unless it is nil, into sum. With
// keepPartial, the bytes before a client's error are a part, and clientErr is that error. After any
// other error, or without a byte, the object is released.
func (r *Registry) writePart(
	ctx context.Context, up meta.Upload, key string, c Chunk, sum resumableHash, keepPartial bool,
) (p part, clientErr, err error) {
	hash := io.Discard
	if sum != nil {
		hash = sum
	}
	b := &body{src: c.Body, keepPartial: keepPartial, now: r.opts.Now, renewAt: r.opts.Now().Add(renewEvery)}
	b.renew = func() error { return r.renew(ctx, up.ID, key) }
	b.allowed = c.allowed
	b.extendAllowance = func(n int64) (int64, error) {
		return r.extendAllowance(ctx, up, key, n, n+max(n/4, r.initialAllowance()))
	}
	size, err := r.bucket.Put(ctx, key, b, hash)
	switch clientErr = b.clientError(); {
	case clientErr != nil && !keepPartial:
		err = clientErr
	case b.ownErr != nil:
		err = b.ownErr
	case err != nil:
		err = bucketError(fmt.Errorf("writing %s: %w", key, err))
	case clientErr == nil && c.Length >= 0 && size != c.Length:
		err = errorf(ErrSizeInvalid, "the body has %d bytes, announced were %d", size, c.Length)
	case size > 0:
		return part{key, size}, clientErr, nil
	}
	return part{}, clientErr, errors.Join(err, r.releaseObject(ctx, key))
}

// releaseObject releases an object that this request wrote, or failed to write.
func (r *Registry) releaseObject(ctx context.Context, key string) error {
	defer r.wakeDeletionWorker()
	return r.tx(ctx, func(tx *meta.Tx) error { return tx.ReleaseObject(key, r.nowMicro()) })
}

// CancelUpload implements [Uploads].
func (r *Registry) CancelUpload(ctx context.Context, caller, repo, id string) error {
	if _, err := r.unfinishedUpload(ctx, caller, repo, id); err != nil {
		return err
	}
	return r.dropUpload(ctx, repo, id, "")
}

// dropUpload ends an open session and releases its objects. The object of key, which the caller
// wrote, is deleted without waiting for its lease.
func (r *Registry) dropUpload(ctx context.Context, repo, id, key string) error {
	r.reservations.take(id)
	defer r.wakeDeletionWorker()
	var open bool
	err := r.changeSession(ctx, id, func(tx *meta.Tx) error {
		up, err := tx.Upload(repo, id)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		open = err == nil && up.FinishedDigest == ""
		// Also when another request ended the session.
		if err := tx.ReleaseObject(key, r.nowMicro()); err != nil || !open {
			return err
		}
		if err := tx.ReleaseUpload(id, r.nowMicro()); err != nil {
			return err
		}
		_, err = tx.DeleteUpload(id)
		return err
	})
	if err == nil && !open {
		err = unknownUploadError(id)
	}
	return err
}

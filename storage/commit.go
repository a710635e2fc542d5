package storage

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/storage/meta"
)

// Commit implements [Uploads].
func (r *Registry) Commit(ctx context.Context, caller, repo, id string, d digest.Digest, c Chunk) (Blob, error) {
	request := ctx
	ctx = context.WithoutCancel(ctx)
	up, key, err := r.beginRequest(ctx, caller, repo, id, &c)
	if errors.Is(err, ErrUploadUnknown) {
		return r.resolveLostRace(ctx, caller, repo, id, d)
	}
	if err != nil {
		return Blob{}, err
	}
	sum := resumeHash(up, d.Algorithm())
	var p part
	if key != "" {
		if p, _, err = r.writePart(ctx, up, key, c, sum, false); err != nil {
			return Blob{}, err
		}
	}
	if sum == nil { // the last chunk has arrived as a whole
		if sum, err = r.rehash(request, up, p, d.Algorithm()); err != nil {
			if err = errors.Join(err, r.releaseObject(ctx, p.key)); !r.uploadChanged(ctx, up) {
				return Blob{}, err
			}
			return r.resolveLostRace(ctx, caller, repo, id, d)
		}
	}
	if err := c.confirm(); err != nil {
		return Blob{}, errors.Join(err, r.releaseObject(ctx, p.key))
	}
	if err := checkDigest(d, sum); err != nil {
		return Blob{}, errors.Join(err, r.dropUpload(ctx, repo, id, p.key))
	}
	committed, b, err := r.commit(request, repo, up, p, d, true)
	if err != nil || committed {
		return b, err
	}
	return r.resolveLostRace(ctx, caller, repo, id, d)
}

// resolveLostRace resolves a commit that lost a race: its session has finished, ended or grown.
func (r *Registry) resolveLostRace(ctx context.Context, caller, repo, id string, d digest.Digest) (Blob, error) {
	up, err := r.callerUpload(ctx, caller, repo, id)
	if err != nil {
		return Blob{}, err
	}
	if up.FinishedDigest != "" {
		return r.finishedBlob(ctx, repo, up, d)
	}
	_, err = r.raceError(ctx, caller, repo, id)
	return Blob{}, err
}

// finishedBlob returns the blob of a finished session, if its digest is d.
// Errors: ErrUploadUnknown.
func (r *Registry) finishedBlob(ctx context.Context, repo string, up meta.Upload, d digest.Digest) (Blob, error) {
	if up.FinishedDigest != d.String() {
		return Blob{}, unknownUploadError(up.ID)
	}
	return r.blob(ctx, repo, d)
}

// PutBlob implements [Blobs]. Only this call knows the session that owns the object while it is
// written. The commit deletes the session.
func (r *Registry) PutBlob(ctx context.Context, caller Caller, repo string, d digest.Digest, c Chunk) (Blob, error) {
	if _, err := c.hasBytes(); err != nil { // a body that breaks before its first byte opens no session
		return Blob{}, err
	}
	request := ctx
	ctx = context.WithoutCancel(ctx)
	up, err := r.openSession(request, caller, repo, d.Algorithm())
	if err != nil {
		return Blob{}, err
	}
	id := up.ID
	up, key, err := r.beginRequest(ctx, caller.Owner, repo, id, &c)
	sum := newHash(d.Algorithm())
	var p part
	if err == nil && key != "" {
		p, _, err = r.writePart(ctx, up, key, c, sum, false)
	}
	if err == nil {
		err = c.confirm()
	}
	if err == nil {
		err = checkDigest(d, sum)
	}
	if err != nil {
		return Blob{}, errors.Join(err, r.dropUpload(ctx, repo, id, key))
	}
	committed, b, err := r.commit(request, repo, up, p, d, false)
	if errors.Is(err, ErrUnavailable) && !errors.Is(err, db.ErrUncertain) { // else the blob may be there
		return Blob{}, errors.Join(err, r.dropUpload(ctx, repo, id, p.key))
	}
	if err == nil && !committed { // the session has expired
		err = unknownUploadError(id)
	}
	return b, err
}

// commit makes an upload with its last part a blob of the repository, in one transaction. It
// reports false if another request changed the session since up was read, and releases the part.
// With keepFinished, the finished session stays for a while to answer the same request again. The
// end of ctx ends only the comparison of stored bytes.
func (r *Registry) commit(
	ctx context.Context, repo string, up meta.Upload, p part, d digest.Digest, keepFinished bool,
) (committed bool, b Blob, err error) {
	request := ctx
	ctx = context.WithoutCancel(ctx)
	checkedSince := int64(0)
	if now := r.now(); r.checks.ready(up.Size+p.size, now) {
		checkedSince = now.Add(-checkAge).UnixMicro()
	}
	committed, b, err = r.commitIfChecked(ctx, repo, up, p, d, keepFinished, checkedSince)
	if !errors.Is(err, errCheckFirst) {
		return committed, b, err
	}
	if err := r.checkBlob(request, b); err != nil {
		return false, Blob{}, errors.Join(err, r.releaseObject(ctx, p.key))
	}
	return r.commitIfChecked(ctx, repo, up, p, d, keepFinished, alreadyChecked)
}

// alreadyChecked is a value of checkedSince that no blob is too old for.
const alreadyChecked = -1

// commitIfChecked is commit for a blob that is new, or whose stored bytes were hashed at
// checkedSince or later and could always be opened. For another blob it changes nothing, and
// returns errCheckFirst and the blob.
func (r *Registry) commitIfChecked(
	ctx context.Context, repo string, up meta.Upload, p part, d digest.Digest, keepFinished bool, checkedSince int64,
) (committed bool, b Blob, err error) {
	size, now, expectedSize, whole := up.Size+p.size, r.nowMicro(), int64(-1), false
	err = r.changeSession(ctx, up.ID, func(tx *meta.Tx) (err error) {
		b, expectedSize, whole = Blob{}, -1, false
		if committed, err = tx.FinishUpload(up, d.String()); err != nil {
			return err
		}
		if !committed {
			return tx.ReleaseObject(p.key, now)
		}
		if err = r.touchUpload(tx, up); err != nil {
			return err
		}
		saved, err := tx.SaveBlob(d.String(), size, now)
		if err != nil {
			return err
		}
		b, whole = Blob{Digest: d, Size: size, id: saved.ID, source: r}, saved.Whole
		if whole && checkedSince != alreadyChecked {
			if _, unreadable := r.unreadable.get(b.key()); unreadable || saved.CheckedAt < checkedSince {
				return errCheckFirst
			}
		}
		if err := r.assignObjects(tx, up, p, saved, now); err != nil {
			return err
		}
		expectedSize, err = tx.AddBlob(repo, meta.Blob{ID: saved.ID, Digest: d.String(), Size: size}, now)
		if err != nil || keepFinished {
			return err
		}
		_, err = tx.DeleteUpload(up.ID)
		return err
	})
	if whole || !committed {
		r.wakeDeletionWorker()
	}
	if err == nil {
		r.warnSizeMismatch(repo, d, expectedSize, size)
	}
	return committed, b, err
}

// touchUpload records that a session was used, unless the recorded time is recent. The time is in
// an index, so writing it costs more than the row. A finished session answers a repeated request
// for about an hour after that time.
func (r *Registry) touchUpload(tx *meta.Tx, up meta.Upload) error {
	now := r.now()
	if now.Sub(time.UnixMicro(up.UpdatedAt)) < min(2*time.Minute, r.opts.UploadExpiry/4) {
		return nil
	}
	return tx.TouchUpload(up.ID, r.sessionTime(now))
}

// assignObjects gives the objects of an upload to a blob, or releases them if the blob has its
// bytes already. Objects of requests that lost a race are released. A request that began after up
// was read releases its own.
func (r *Registry) assignObjects(tx *meta.Tx, up meta.Upload, p part, b meta.SavedBlob, now int64) (err error) {
	moved := int64(0)
	switch {
	case b.Whole:
		err = tx.ReleaseObject(p.key, now) // at once: its write has ended
	case b.Damaged:
		err = errors.Join(tx.ReleaseBlob(b.ID, now+r.opts.DeleteDelay.Microseconds()), tx.RecordBlobHealed(b.ID, now))
	}
	if err == nil && !b.Whole {
		moved, err = r.giveObjects(tx, up, p, b)
	}
	if err == nil && moved < up.NextPart {
		err = tx.ReleaseUpload(up.ID, now)
	}
	return err
}

// giveObjects gives the objects of an upload to a blob that has none, and returns their number. If
// other processes serve the database, it also checks that they are all there: a process that was
// suspended, or a failover, may have lost some.
// Errors: ErrUploadUnknown.
func (r *Registry) giveObjects(tx *meta.Tx, up meta.Upload, p part, b meta.SavedBlob) (moved int64, err error) {
	moved, err = tx.GiveToBlob(up.ID, p.key, p.size, b.ID)
	if err != nil || r.db.Exclusive() {
		return moved, err
	}
	size, err := tx.SumObjects(b.ID)
	if err == nil && size != up.Size+p.size {
		err = unknownUploadError(up.ID)
	}
	return moved, err
}

// warnSizeMismatch logs that content arrived with another size than a sparse manifest gave. The
// content is linked all the same: its digest is right. It does nothing if expectedSize is negative.
func (r *Registry) warnSizeMismatch(repo string, d digest.Digest, expectedSize, size int64) {
	if expectedSize >= 0 {
		r.log.Warn("content has another size than a manifest promised",
			"repository", repo, "digest", d.String(), "promised", expectedSize, "size", size)
	}
}

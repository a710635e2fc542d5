package storage

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/meta"
)

// An object may be there and yet fail to open, while the rest of the bucket can be read. That may
// pass, so nothing is recorded: the process remembers the blob, tries its object again for each
// request, and forgets it when the object can be opened.
//
//	the bucket says that only this object cannot be read -> GET and HEAD: ErrBlobUnknown
//	it fails in another way                              -> GET and HEAD: ErrUnavailable
//	the blob is pushed                                   -> it is damaged, and the push heals it

// unreadableBytes is the size of the cache of objects that could not be opened. One that is evicted
// is found again by the next reader.
const unreadableBytes = 256 << 10

// objectFailed handles the failure to open an object of a blob, and returns the error for the
// blob's reader. If the object is gone, the blob is recorded as damaged. If it cannot be read, it
// is remembered.
func (r *Registry) objectFailed(ctx context.Context, b Blob, o meta.Object, cause error) error {
	switch {
	case errors.Is(cause, errGone):
		if err := r.markDamaged(ctx, b, o.Key, cause); err != nil {
			return err
		}
		return errorf(ErrBlobUnknown, "the bytes of blob %s are damaged: push it again", b.Digest)
	case !errors.Is(cause, ErrUnavailable):
		return cause
	}
	if err := r.checkBucket(ctx); err != nil {
		return err
	}
	if _, known := r.unreadable.get(b.key()); !known {
		r.log.Error("a blob cannot be read", "digest", b.Digest.String(), "key", o.Key, "error", cause)
	}
	r.unreadable.add(b.key(), o, len(o.Key))
	return unreadableError(b.Digest, cause)
}

// retryUnreadable returns the object of a blob that could not be opened before, and why it still
// cannot. The cause is nil if all objects may be good.
func (r *Registry) retryUnreadable(ctx context.Context, b Blob) (o meta.Object, cause error) {
	o, ok := r.unreadable.get(b.key())
	if !ok {
		return o, nil
	}
	f, err := openObject(ctx, r.bucket, o, 0)
	if err == nil {
		f.Close()
	}
	// A gone one was replaced, or is found by the next reader.
	if err == nil || errors.Is(err, errGone) || r.replaced(ctx, b, o) {
		r.unreadable.take(b.key())
		return o, nil
	}
	return o, err
}

// replaced reports whether an object is no longer the blob's: another process has healed the blob.
func (r *Registry) replaced(ctx context.Context, b Blob, o meta.Object) bool {
	objects, err := r.db.BlobObjectsFrom(ctx, b.id, o.Key, 0, 1)
	return err == nil && len(objects) == 0
}

// unreadableError returns the error for a blob with an object that cannot be opened. Where the
// fault is of the object alone, clients that look for the blob before they push it do push it.
func unreadableError(d digest.Digest, cause error) error {
	if errors.Is(cause, bucket.ErrUnreadable) {
		return errorf(ErrBlobUnknown, "the bytes of blob %s cannot be read: push it again", d)
	}
	return cause
}

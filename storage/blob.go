package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/meta"
)

// Blob implements [Blobs].
func (r *Registry) Blob(ctx context.Context, repo string, d digest.Digest) (Blob, error) {
	return r.blob(ctx, repo, d)
}

func (r *Registry) blob(ctx context.Context, repo string, d digest.Digest) (Blob, error) {
	b, err := r.blobs.resolve(ctx, repo, d.String(), func(ctx context.Context) (Blob, error) {
		row, err := r.db.Blob(ctx, repo, d.String())
		if err == nil && row.Damaged {
			err = fs.ErrNotExist
		}
		return Blob{Digest: d, Size: row.Size, id: row.ID, object: row.Object, source: r}, err
	})
	if err == nil {
		if _, cause := r.retryUnreadable(ctx, b); cause != nil {
			err = unreadableError(d, cause)
		}
	}
	return b, orUnknown(err, ErrBlobUnknown, "the repository has no blob %s", d)
}

// openBlob implements [Blob.Open].
func (r *Registry) openBlob(ctx context.Context, b Blob) (io.ReadSeekCloser, error) {
	reader := &blobReader{
		size: b.Size,
		find: func(offset int64) (objectSpan, error) { return r.findSpan(ctx, b, offset) },
		open: func(o meta.Object, offset int64) (io.ReadCloser, error) {
			return openObject(ctx, r.bucket, o, offset)
		},
		failed: func(o meta.Object, cause error) error { return r.objectFailed(ctx, b, o, cause) },
	}
	if b.object.Key != "" {
		reader.span = objectSpan{objects: []meta.Object{b.object}}
	}
	if !r.bucket.OpensFiles() {
		return reader, nil // the caller seeks first, and each opening is a request
	}
	return reader.openWhole()
}

// errGone is the error for an object that is missing, or not as long as its row says.
var errGone = errors.New("object gone or cut short")

// openObject opens an object at an offset and checks its size.
// Errors: errGone, ErrUnavailable.
func openObject(ctx context.Context, b bucket.Store, o meta.Object, offset int64) (io.ReadCloser, error) {
	f, err := b.Get(ctx, o.Key, offset, o.Size)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, bucket.ErrSize):
		return nil, fmt.Errorf("%s: %w: %w", o.Key, errGone, err)
	case err != nil:
		return nil, bucketError(err)
	}
	return f, nil
}

// markDamaged records that a blob is damaged, so that the next push heals it. cause is what is
// wrong with its objects, of which key is one. If the bucket cannot be read at all, nothing is
// recorded and the error is ErrUnavailable.
func (r *Registry) markDamaged(ctx context.Context, b Blob, key string, cause error) error {
	if err := r.checkBucket(ctx); err != nil {
		return err
	}
	var marked bool
	err := r.tx(ctx, func(tx *meta.Tx) (err error) {
		marked, err = tx.RecordBlobDamaged(b.id, key, r.nowMicro())
		return err
	})
	if err == nil {
		r.unreadable.take(b.key())
	}
	if err == nil && marked {
		r.log.Error("a blob is damaged: a push of it heals it", "digest", b.Digest.String(), "key", key, "error", cause)
	}
	return err
}

// checkBucket returns an ErrUnavailable, and logs the reason, unless the bucket can be read and is
// this registry's.
func (r *Registry) checkBucket(ctx context.Context) error {
	err := r.checkMarker(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	r.log.Error("the bucket cannot be read", "error", err)
	return errorf(ErrUnavailable, "the bucket of the registry cannot be read at present")
}

// DeleteBlob implements [Blobs].
func (r *Registry) DeleteBlob(ctx context.Context, caller, repo string, d digest.Digest) error {
	unknown := func(err error) error {
		return orUnknown(err, ErrBlobUnknown, "the repository has no blob %s", d)
	}
	return r.decide(ctx, repo, func(tx *meta.Tx) error {
		repoRows, err := tx.Repo(repo)
		if err != nil {
			return unknown(err)
		}
		c, err := repoRows.Content(d.String())
		if err == nil && c.BlobID == 0 {
			err = fs.ErrNotExist
		}
		if err != nil {
			return unknown(err)
		}
		for _, child := range []bool{false, true} {
			if child && c.ManifestID != 0 {
				break // an index that lists the digest links the manifest, not the blob
			}
			parent, err := repoRows.ReferencedBy(d.String(), child)
			if err == nil {
				return errorf(ErrDenied, "the manifest %s names the blob: delete that first", parent)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := repoRows.RemoveBlob(d.String()); err != nil {
			return err
		}
		return repoRows.DropUnlisted()
	})
}

// Mount implements [Blobs].
func (r *Registry) Mount(ctx context.Context, caller, repo string, d digest.Digest, from string) (Blob, error) {
	var b Blob
	promised := int64(-1)
	err := r.tx(ctx, func(tx *meta.Tx) error {
		source, err := tx.BlobIn(from, d.String())
		if err != nil {
			return orUnknown(err, ErrBlobUnknown, "the repository %s has no blob %s to mount", from, d)
		}
		if _, bad := r.unreadable.get(rowKey{source.ID, d}); bad {
			return unreadableError(d, bucket.ErrUnreadable)
		}
		b = Blob{Digest: d, Size: source.Size, id: source.ID, source: r}
		promised, err = tx.AddBlob(repo, source, r.nowMicro())
		return err
	})
	if err == nil {
		r.warnSizeMismatch(repo, d, promised, b.Size)
	}
	return b, err
}

// BlobRepositories implements [Blobs].
func (r *Registry) BlobRepositories(ctx context.Context, d digest.Digest, n int) ([]string, error) {
	return r.db.BlobRepositories(ctx, d.String(), n)
}

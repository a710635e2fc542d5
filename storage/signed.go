package storage

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/berth-registry/berth/storage/bucket"
)

const (
	// presentAge is how long an object that was read is taken for present.
	presentAge = time.Hour
	// presentBytes is the size of the cache of objects that were read.
	presentBytes = 1 << 20
)

// SignOptions are the properties of a signed URL.
type SignOptions = bucket.SignOptions

// signBlob implements [Blob.SignURL]. It signs nothing for an object that cannot be read: then the
// caller opens the blob, which finds out why and records it.
func (r *Registry) signBlob(ctx context.Context, b Blob, o SignOptions) (string, error) {
	if b.object.Key == "" || b.Size == 0 {
		return "", nil
	}
	url, err := bucket.SignURL(ctx, r.bucket, b.object.Key, o)
	switch {
	case errors.Is(err, bucket.ErrCannotSign):
		return "", nil
	case err != nil:
		return "", bucketError(err)
	case !r.isPresent(ctx, b):
		return "", nil
	}
	return url, nil
}

// isPresent reports whether the one object of a blob could be read within presentAge. It reads the
// last byte if it does not know. Clients that are sent to the store meet its 404 there, and the
// registry does not: a lost object would never be found.
func (r *Registry) isPresent(ctx context.Context, b Blob) bool {
	at, known := r.present.get(b.object.Key)
	if known && r.now().Sub(at) < presentAge {
		return true
	}
	f, err := openObject(ctx, r.bucket, b.object, b.Size-1)
	if err != nil {
		return false
	}
	defer f.Close()
	if _, err := io.ReadFull(f, make([]byte, 1)); err != nil {
		return false
	}
	r.present.add(b.object.Key, r.now(), len(b.object.Key))
	return true
}

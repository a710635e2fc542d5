package storage

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage/meta"
)

// hashing is what an upload's hash can do: its state is kept in the row.
type hashing interface {
	hash.Hash
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// newHash returns a hash of one of the algorithms that manifest.ParseAlgorithm takes.
func newHash(alg digest.Algorithm) hashing {
	if alg == digest.SHA512 {
		return sha512.New().(hashing)
	}
	return sha256.New().(hashing)
}

// resumeHash returns the hash of the bytes that the session recorded, or nil where the row has no
// state of this algorithm: a rehash makes it.
func resumeHash(up meta.Upload, alg digest.Algorithm) hashing {
	sum := newHash(alg)
	if up.Size == 0 || alg.String() == up.Algorithm && sum.UnmarshalBinary(up.HashState) == nil {
		return sum
	}
	return nil
}

// maxRehashes is how many rehashes run at once.
const maxRehashes = 2

// rehash reads what the session has recorded, and the last part, for their hash. A few bytes of a
// request make it read a whole upload, so few do at once. It ends with ctx, also while it waits for
// its turn.
func (r *Registry) rehash(ctx context.Context, up meta.Upload, last part, alg digest.Algorithm) (hashing, error) {
	select {
	case r.rehashes <- struct{}{}:
		defer func() { <-r.rehashes }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	objects, err := r.db.UploadObjects(ctx, up.ID)
	if err != nil {
		return nil, err
	}
	var size int64
	for _, o := range objects {
		size += o.Size
	}
	if size != up.Size {
		return nil, fmt.Errorf("the parts of upload %s have %d bytes, recorded were %d", up.ID, size, up.Size)
	}
	if last.size > 0 {
		objects = append(objects, meta.Object{Key: last.key, Size: last.size})
	}
	sum := newHash(alg)
	return sum, r.hashObjects(ctx, objects, sum)
}

// changed reports whether a session is no longer as up says: another request ended it or wrote to
// it.
func (r *Registry) changed(ctx context.Context, up meta.Upload) bool {
	now, err := r.db.Upload(ctx, up.Repository, up.ID)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return now.FinishedDigest != "" || now.Size != up.Size
}

// hashObjects gives the bytes of objects, one after the other, to sum. It ends with ctx.
func (r *Registry) hashObjects(ctx context.Context, objects []meta.Object, sum io.Writer) error {
	for _, o := range objects {
		if err := r.hashObject(ctx, o, sum); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) hashObject(ctx context.Context, o meta.Object, sum io.Writer) error {
	f, err := openObject(ctx, r.bytes, o)
	if err != nil {
		return err
	}
	defer f.Close()
	for ctx.Err() == nil {
		switch _, err := io.CopyN(sum, f, 1<<20); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("reading %s: %w", o.Key, err)
		}
	}
	return ctx.Err()
}

// checkDigest compares what was pushed with what was promised.
func checkDigest(d digest.Digest, sum hashing) error {
	if got := digest.NewDigest(d.Algorithm(), sum); got != d {
		return &manifest.Error{Kind: manifest.ErrDigestInvalid,
			Message: fmt.Sprintf("the bytes pushed have the digest %s, not %s: push them again in a new session", got, d),
			Detail:  map[string]string{"expected": d.String(), "actual": got.String()}}
	}
	return nil
}

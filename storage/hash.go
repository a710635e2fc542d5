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

// resumableHash is a hash whose state can be saved in the row of an upload.
type resumableHash interface {
	hash.Hash
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// newHash returns a new hash of an algorithm that manifest.ParseAlgorithm accepts.
func newHash(alg digest.Algorithm) resumableHash {
	if alg == digest.SHA512 {
		return sha512.New().(resumableHash)
	}
	return sha256.New().(resumableHash)
}

// resumeHash returns the hash of the recorded bytes of an upload, or nil if the row has no state of
// this algorithm. Then rehash makes it.
func resumeHash(up meta.Upload, alg digest.Algorithm) resumableHash {
	sum := newHash(alg)
	if up.Size == 0 || alg.String() == up.Algorithm && sum.UnmarshalBinary(up.HashState) == nil {
		return sum
	}
	return nil
}

// maxRehashes is the maximum number of rehashes at once.
const maxRehashes = 2

// rehash returns the hash of the recorded bytes of an upload and of its last part, which it reads.
// A small request can make it read a large upload, so at most maxRehashes run at once. It ends with
// ctx, also while it waits to run.
func (r *Registry) rehash(ctx context.Context, up meta.Upload, last part, alg digest.Algorithm) (resumableHash, error) {
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

// uploadChanged reports whether another request has ended the session or written to it since up was
// read.
func (r *Registry) uploadChanged(ctx context.Context, up meta.Upload) bool {
	current, err := r.db.Upload(ctx, up.Repository, up.ID)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return current.FinishedDigest != "" || current.Size != up.Size
}

// hashObjects writes the bytes of objects, one after another, to sum. It ends with ctx.
func (r *Registry) hashObjects(ctx context.Context, objects []meta.Object, sum io.Writer) error {
	for _, o := range objects {
		if err := r.hashObject(ctx, o, sum); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) hashObject(ctx context.Context, o meta.Object, sum io.Writer) error {
	f, err := openObject(ctx, r.bucket, o, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for ctx.Err() == nil {
		switch _, err := io.CopyN(sum, f, 1<<20); {
		case err == io.EOF:
			return nil
		case err != nil:
			return bucketError(fmt.Errorf("reading %s: %w", o.Key, err))
		}
	}
	return ctx.Err()
}

// checkDigest compares the digest of the pushed bytes with the announced one.
func checkDigest(d digest.Digest, sum resumableHash) error {
	if got := digest.NewDigest(d.Algorithm(), sum); got != d {
		return &manifest.Error{Kind: manifest.ErrDigestInvalid,
			Message: fmt.Sprintf("the bytes pushed have the digest %s, not %s: push them again in a new session", got, d),
			Detail:  map[string]string{"expected": d.String(), "actual": got.String()}}
	}
	return nil
}

package buckettest

import (
	"context"
	"errors"
	"io"

	"github.com/berth-registry/berth/storage/bucket"
)

// Faulty is a Store whose calls a test can make fail.
type Faulty struct {
	bucket.Store
	// Fail, if set, is called before each "put", "get" and "delete", with the first key. An error
	// fails the call. If happens is true, a "put" or "delete" is done nevertheless.
	Fail func(op, key string) (happens bool, err error)
	// ReplaceReadError, if set, is called with the error of each read of a Put's body, and its
	// result is returned instead. So a test can fail a Put in the middle of the body, where err is
	// nil, or at its end, where err is io.EOF.
	ReplaceReadError func(key string, err error) error
}

func (f *Faulty) fail(op, key string) (bool, error) {
	if f.Fail == nil {
		return true, nil
	}
	return f.Fail(op, key)
}

// Put implements [bucket.Store].
func (f *Faulty) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (int64, error) {
	happens, err := f.fail("put", key)
	if !happens {
		return 0, err
	}
	if f.ReplaceReadError != nil {
		src = &faultyReader{src, func(err error) error { return f.ReplaceReadError(key, err) }}
	}
	n, perr := f.Store.Put(ctx, key, src, sum)
	return n, errors.Join(perr, err)
}

type faultyReader struct {
	io.Reader
	replace func(error) error
}

// Read implements io.Reader.
func (r *faultyReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	return n, r.replace(err)
}

// Get implements [bucket.Store].
func (f *Faulty) Get(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	if _, err := f.fail("get", key); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, key, offset, size)
}

// SignURL implements [bucket.Signer].
func (f *Faulty) SignURL(ctx context.Context, key string, o bucket.SignOptions) (string, error) {
	return bucket.SignURL(ctx, f.Store, key, o)
}

// RemoveParts implements [bucket.PartRemover].
func (f *Faulty) RemoveParts(ctx context.Context, keys ...string) error {
	return bucket.RemoveParts(ctx, f.Store, keys...)
}

// Delete implements [bucket.Store].
func (f *Faulty) Delete(ctx context.Context, keys ...string) error {
	var first string
	if len(keys) > 0 {
		first = keys[0]
	}
	happens, err := f.fail("delete", first)
	if !happens {
		return err
	}
	return errors.Join(f.Store.Delete(ctx, keys...), err)
}

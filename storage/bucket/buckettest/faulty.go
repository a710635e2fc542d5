package buckettest

import (
	"context"
	"errors"
	"io"

	"github.com/berth-registry/berth/storage/bucket"
)

// Faulty is a Store that fails where a test wants it to.
type Faulty struct {
	bucket.Store
	// Fail, where set, is asked before each "put", "get" and "delete", with the first key. An error
	// fails the call, which where happens is true, other than a "get", is done all the same.
	Fail func(op, key string) (happens bool, err error)
	// Read, where set, is given the error of each read of the body of a Put, and returns the one
	// that the Put gets: so it fails in mid-body (nil), or before the object is published (io.EOF).
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

// Read reads and replaces the error.
func (r *faultyReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	return n, r.replace(err)
}

// Get implements [bucket.Store].
func (f *Faulty) Get(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	if _, err := f.fail("get", key); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, key)
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

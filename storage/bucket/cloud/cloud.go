// Package cloud implements a bucket on gocloud. Its objects are as durable as gocloud's driver
// makes them.
package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"sync/atomic"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"

	"github.com/berth-registry/berth/storage/bucket"
)

// Store is a bucket on gocloud.
type Store struct {
	blobs   *blob.Bucket
	buffers *bucket.Buffers
	closed  atomic.Bool
}

var _ bucket.Store = (*Store)(nil)

// OpenMemory returns a new and empty bucket in memory, for tests and demonstrations.
func OpenMemory(o bucket.Options) *Store {
	return &Store{
		blobs:   memblob.OpenBucket(&memblob.Options{NoMD5: true}),
		buffers: bucket.NewBuffers(o),
	}
}

// Close implements [bucket.Store].
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.blobs.Close()
}

// usable returns the error of a call that must not start.
func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return fs.ErrClosed
	}
	return ctx.Err()
}

// Put implements [bucket.Store]. The object appears only when it is complete.
func (s *Store) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (n int64, err error) {
	if err := bucket.CheckKey(key); err != nil {
		return 0, err
	}
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	if n, err = s.put(ctx, key, src, sum); err != nil {
		return n, fmt.Errorf("bucket: put %s: %w", key, err)
	}
	return n, nil
}

func (s *Store) put(ctx context.Context, key string, src io.Reader, sum io.Writer) (n int64, err error) {
	// Close of the writer discards the object if the context has ended, and commits it otherwise.
	wctx, discard := context.WithCancel(ctx)
	defer discard()
	o := &blob.WriterOptions{ContentType: "application/octet-stream"} // otherwise gocloud would detect one
	w, err := s.blobs.NewWriter(wctx, key, o)
	if err != nil {
		return 0, err
	}
	closed := false
	defer func() {
		if !closed {
			discard()
			w.Close() // its error only says that the object was discarded
		}
	}()
	n, err = s.buffers.Copy(ctx, src, sum, func(p []byte) error { _, err := w.Write(p); return err })
	if err == nil {
		closed = true
		err = w.Close()
	}
	return n, err
}

// CheckSpace implements [bucket.Store]. gocloud has no method for the free space.
func (s *Store) CheckSpace() error { return nil }

// Get implements [bucket.Store]. It reads the whole object into memory.
func (s *Store) Get(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	if err := bucket.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	content, err := s.blobs.ReadAll(ctx, key)
	switch {
	case err == nil:
		return openObject{bytes.NewReader(content)}, nil
	case isNotExist(err):
		return nil, &fs.PathError{Op: "get", Path: key, Err: fs.ErrNotExist}
	default:
		return nil, fmt.Errorf("bucket: get %s: %w", key, err)
	}
}

// openObject is an object that is open for reading.
type openObject struct{ *bytes.Reader }

// Close does nothing.
func (openObject) Close() error { return nil }

// Delete implements [bucket.Store].
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := bucket.CheckKey(key); err != nil {
			return err
		}
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	var errs []error
	for _, key := range keys {
		err := ctx.Err()
		if err == nil {
			err = s.blobs.Delete(ctx, key)
		}
		if err != nil && !isNotExist(err) {
			errs = append(errs, fmt.Errorf("bucket: delete in %s: %w", path.Dir(key), err))
		}
	}
	return errors.Join(errs...)
}

// Keys implements [bucket.Store].
func (s *Store) Keys(ctx context.Context) iter.Seq2[string, error] {
	return bucket.WalkKeys(func(dir string) ([]string, error) { return s.keysIn(ctx, dir) })
}

// keysIn returns the keys in one directory, sorted.
func (s *Store) keysIn(ctx context.Context, dir string) (keys []string, err error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	prefix := dir + "/"
	if dir == "." {
		prefix = bucket.Marker
	}
	list := s.blobs.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := list.Next(ctx)
		if err == io.EOF {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, o.Key)
	}
}

func isNotExist(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || gcerrors.Code(err) == gcerrors.NotFound
}

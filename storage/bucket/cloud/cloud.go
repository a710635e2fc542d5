// Package cloud implements a bucket in an object store: S3 or what is compatible with it, Google
// Cloud Storage, Azure Blob Storage, or, for tests and demonstrations, the memory of the process.
//
// It reads and lists with gocloud, on clients of the clouds' own SDKs. It writes and deletes with
// the SDKs themselves, since gocloud's writers commit a body that broke off, leave the parts of a
// cancelled upload behind, and need more memory for each upload than a pool has for all.
//
// Objects are as durable as the store makes them. It has them when Put has returned nil.
package cloud

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync/atomic"

	"gocloud.dev/blob"

	"github.com/berth-registry/berth/storage/bucket"
)

// Store is a bucket in an object store.
type Store struct {
	blobs   *blob.Bucket // for reads and lists
	service service
	traits  traits
	prefix  string // of the names of all objects
	pool    *pool
	buffers *bucket.Buffers
	sign    signFunc // nil if the store cannot sign
	closed  atomic.Bool

	// Credentials is where the SDK found the credentials, for the log.
	Credentials string
}

var (
	_ bucket.Store       = (*Store)(nil)
	_ bucket.Signer      = (*Store)(nil)
	_ bucket.PartRemover = (*Store)(nil)
)

// traits are the differences between kinds of stores.
type traits struct {
	parallel bool  // parts of one object may be sent at once
	maxParts int   // of one object; 0 for no limit
	ownUnits int64 // of a pool, for the buffers that the SDK has for each object in parts
}

// service writes and deletes objects. Names are keys with the prefix. Its errors are those of the
// SDK, except as said.
type service interface {
	// put writes an object. With onlyNew it returns fs.ErrExist if there is one.
	put(ctx context.Context, name string, body []byte, onlyNew bool) error
	// startParts begins an object that is written in parts.
	startParts(ctx context.Context, name string) (parts, error)
	// remove deletes objects. A missing one is no error, and an error for one does not stop others.
	remove(ctx context.Context, names []string) error
	// removeParts removes the parts of an object that was not completed.
	removeParts(ctx context.Context, name string) error
}

// parts is an object that is being written in parts. It appears when it is complete.
type parts interface {
	// write writes the part with a number, from 0 on. The body may be used until it returns.
	write(ctx context.Context, number int, body []byte) error
	complete(ctx context.Context) error
	// abort removes the parts. No write is running.
	abort(ctx context.Context) error
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

// CheckSpace implements [bucket.Store]. An object store has no limit that could be asked for.
func (s *Store) CheckSpace() error { return nil }

// OpensFiles implements [bucket.Store].
func (s *Store) OpensFiles() bool { return false }

// Delete implements [bucket.Store].
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	names, err := s.names(ctx, keys)
	if err != nil || len(names) == 0 {
		return err
	}
	if err := s.service.remove(ctx, names); err != nil {
		return fmt.Errorf("bucket: delete: %w", err)
	}
	return nil
}

// RemoveParts implements [bucket.PartRemover].
func (s *Store) RemoveParts(ctx context.Context, keys ...string) error {
	names, err := s.names(ctx, keys)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.service.removeParts(ctx, name); err != nil {
			return fmt.Errorf("bucket: delete parts: %w", err)
		}
	}
	return nil
}

// names returns the names of objects, or the error of a call that must not start.
func (s *Store) names(ctx context.Context, keys []string) ([]string, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		if err := bucket.CheckKey(key); err != nil {
			return nil, err
		}
		names[i] = s.prefix + key
	}
	return names, s.usable(ctx)
}

// Keys implements [bucket.Store]. Objects that are not Berth's are left out.
func (s *Store) Keys(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, start := range []string{bucket.Marker, bucket.ContentDir + "/"} {
			if !s.keysFrom(ctx, start, yield) {
				return
			}
		}
	}
}

// keysFrom yields the keys that begin with start, and reports whether the sequence goes on.
func (s *Store) keysFrom(ctx context.Context, start string, yield func(string, error) bool) bool {
	if err := s.usable(ctx); err != nil {
		yield("", err)
		return false
	}
	list := s.blobs.List(&blob.ListOptions{Prefix: s.prefix + start})
	for {
		o, err := list.Next(ctx)
		if err == io.EOF {
			return true
		}
		if err != nil {
			yield("", fmt.Errorf("bucket: keys: %w", err))
			return false
		}
		key := strings.TrimPrefix(o.Key, s.prefix)
		if bucket.CheckKey(key) == nil && !yield(key, nil) {
			return false
		}
	}
}

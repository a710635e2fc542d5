package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"syscall"

	"github.com/berth-registry/berth/storage/bucket"
)

// OpensFiles implements [bucket.Store].
func (s *Store) OpensFiles() bool { return true }

// Get implements [bucket.Store]. It returns an *os.File.
//
//	open(file)
//	lseek(file), twice: for the size, and to the offset
func (s *Store) Get(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	if err := bucket.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	f, err := s.disk.open(s.path(key))
	switch {
	case err == nil:
		return atOffset(f, key, offset, size)
	case errors.Is(err, fs.ErrNotExist):
		return nil, &fs.PathError{Op: "get", Path: key, Err: fs.ErrNotExist}
	case s.isUnreadable(key, err):
		return nil, fmt.Errorf("bucket: get %s: %w: %w", key, bucket.ErrUnreadable, err)
	default:
		return nil, fmt.Errorf("bucket: get %s: %w", key, err)
	}
}

// atOffset checks the size of an open object and sets its offset. It closes f if that fails.
func atOffset(f *os.File, key string, offset, size int64) (io.ReadCloser, error) {
	got, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err == nil && size != bucket.UnknownSize && got != size {
		err = fmt.Errorf("bucket: get %s: %w: %d bytes instead of %d", key, bucket.ErrSize, got, size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// isUnreadable reports whether err, of opening an object, is a fault of its file alone. A directory
// that may not be searched fails the stat too.
func (s *Store) isUnreadable(key string, err error) bool {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EIO) {
		return false
	}
	return s.disk.stat(s.path(key)) == nil
}

// Keys implements [bucket.Store]. It skips temporary files and files that are not Berth's.
func (s *Store) Keys(ctx context.Context) iter.Seq2[string, error] {
	return bucket.WalkKeys(func(dir string) ([]string, error) { return s.keysIn(ctx, dir) })
}

// keysIn returns the keys in one directory, sorted.
func (s *Store) keysIn(ctx context.Context, dir string) (keys []string, err error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if key := path.Join(dir, e.Name()); e.Type().IsRegular() && bucket.CheckKey(key) == nil {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

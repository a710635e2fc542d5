package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/berth-registry/berth/storage/bucket"
)

// Delete implements [bucket.Store].
//
//	open(directory), for each directory of the keys
//	unlink(file), for each key in it
//	fsync(directory)
//	close(directory)
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	var dirs []string // in the order of the keys
	byDir := make(map[string][]string)
	for _, key := range keys {
		if err := bucket.CheckKey(key); err != nil {
			return err
		}
		dir := path.Dir(key)
		if byDir[dir] == nil {
			dirs = append(dirs, dir)
		}
		byDir[dir] = append(byDir[dir], key)
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		if err := s.deleteIn(ctx, dir, byDir[dir]); err != nil {
			errs = append(errs, fmt.Errorf("bucket: delete in %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// deleteIn removes objects from one directory durably.
func (s *Store) deleteIn(ctx context.Context, dir string, keys []string) error {
	opened, err := s.disk.openDir(s.path(dir)) // before the removal, as in Put
	if err != nil {
		return err
	}
	defer opened.Close()
	var errs []error
	for _, key := range keys {
		if err := s.deleteOne(ctx, key); err != nil {
			errs = append(errs, err)
		}
	}
	// Also if no file was removed: an earlier Delete may have removed it and then failed here.
	err = s.disk.syncDir(opened) // durable: deletion
	return errors.Join(append(errs, err)...)
}

func (s *Store) deleteOne(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.disk.remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

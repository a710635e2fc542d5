package bucket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/berth-registry/berth/internal/durable"
)

// Delete removes the objects of those keys, durably: after a power cut they are still gone. A key without an object is
// no error. With an error some may be gone and others not, and some may come back with the next power cut: it is safe,
// and needed, to call Delete again with the same keys. One key's error does not keep the others from being removed.
func (b *Bucket) Delete(ctx context.Context, keys ...string) (err error) {
	var dirs []string // in the order of the keys
	byDir := make(map[string][]string)
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return err
		}
		dir := path.Dir(key)
		if byDir[dir] == nil {
			dirs = append(dirs, dir)
		}
		byDir[dir] = append(byDir[dir], key)
	}
	if err := b.usable(ctx); err != nil {
		return err
	}
	start := time.Now()
	defer func() { b.metrics.del.observe(time.Since(start), err) }()
	var errs []error
	for _, dir := range dirs {
		if err := b.deleteIn(ctx, dir, byDir[dir]); err != nil {
			errs = append(errs, fmt.Errorf("bucket: delete in %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// deleteIn removes keys of one directory and makes that durable.
func (b *Bucket) deleteIn(ctx context.Context, dir string, keys []string) error {
	var opened *os.File
	if b.root != "" {
		var err error
		// Before the removal, as in Put.
		if opened, err = os.Open(b.filePath(dir)); err != nil {
			return err
		}
		defer opened.Close()
	}
	var errs []error
	for _, key := range keys {
		if err := b.deleteOne(ctx, key); err != nil {
			errs = append(errs, err)
		}
	}
	// Also if no key had an object: an earlier Delete may have removed it and then failed here.
	err := b.fault("syncdir", keys[0])
	if err == nil && opened != nil {
		err = durable.SyncOpenDir(opened) // durable: deletion
	}
	return errors.Join(append(errs, err)...)
}

func (b *Bucket) deleteOne(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.fault("delete", key); err != nil {
		return err
	}
	if err := b.blobs.Delete(ctx, key); err != nil && !isNotExist(err) {
		return err
	}
	return nil
}

// Sweep removes the temporary files that a crashed process left in a file:// bucket, and returns how many. It cannot
// tell them from those of a Put that is running, in this or another process: call it before the first one, under the
// lock of the data directory.
func (b *Bucket) Sweep(ctx context.Context) (removed int, err error) {
	if b.root == "" {
		return 0, b.usable(ctx)
	}
	for dir := range directories {
		if err := b.usable(ctx); err != nil {
			return removed, err
		}
		entries, err := os.ReadDir(b.filePath(dir))
		if err != nil {
			return removed, fmt.Errorf("bucket: sweep: %w", err)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !isTemporary(dir, e.Name()) {
				continue
			}
			// No fsync: one that comes back after a power cut is swept at the next start.
			if err := os.Remove(b.filePath(path.Join(dir, e.Name()))); err != nil {
				return removed, fmt.Errorf("bucket: sweep: %w", err)
			}
			removed++
		}
	}
	return removed, nil
}

package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/cloud"
	"github.com/berth-registry/berth/storage/bucket/dir"
)

// openBucket opens the configured bucket, with wrappers that limit its space and measure it.
func (s *server) openBucket(ctx context.Context) (*bucket.Instrumented, error) {
	location, err := bucket.ParseURL(s.cfg.Storage.Bucket)
	if err != nil {
		return nil, err
	}
	var (
		store bucket.Store
		paths []string // of the file systems whose free space is checked
	)
	switch location.Kind {
	case bucket.Directory:
		store, err = s.openDirectory(ctx, location.Dir)
		paths = append(paths, location.Dir)
	case bucket.Memory:
		store = cloud.OpenMemory(bucket.Options{})
	default:
		store, err = s.openCloud(ctx, location)
	}
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, store.Close)
	if s.cfg.Storage.Redirect.Enabled && !s.signs {
		s.log.Warn(
			"storage.redirect is enabled, but there is nothing that signs URLs of this bucket: "+
				"the registry sends all blobs itself",
			"kind", location.Kind)
	}
	if file := s.cfg.DatabaseFile; file != "" {
		paths = append(paths, filepath.Dir(file))
	}
	return bucket.Instrument(bucket.LimitSpace(store, int64(s.cfg.Storage.MinFree), paths...)), nil
}

// openCloud opens a bucket in an object store and tests it.
func (s *server) openCloud(ctx context.Context, l bucket.Location) (bucket.Store, error) {
	store, err := cloud.Open(ctx, l, bucket.Options{UploadMemory: int64(s.cfg.Storage.UploadMemory)})
	if err != nil {
		return nil, err
	}
	s.signs, err = store.SelfTest(ctx)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s.log.Info("the bucket passed its self-test",
		"kind", l.Kind, "bucket", l.Bucket, "credentials", store.Credentials, "signs", s.signs)
	return store, nil
}

// openDirectory opens a bucket in a directory and sweeps it. The caller has locked the data
// directory.
func (s *server) openDirectory(ctx context.Context, path string) (bucket.Store, error) {
	store, err := dir.Open(path, bucket.Options{})
	if err != nil {
		return nil, err
	}
	if removed, err := store.Sweep(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("sweeping the bucket: %w", err), store.Close())
	} else if removed > 0 {
		s.log.Info("swept temporary files of an earlier run", "files", removed)
	}
	return store, nil
}

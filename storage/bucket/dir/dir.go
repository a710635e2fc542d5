// Package dir implements a bucket in a directory of a file system.
//
// An object is one file, whose path below the directory is its key. It is written under that name
// from its first byte, so an existing file may be incomplete: see [bucket.Store]. If the process
// dies during a Put, the incomplete file stays until its key is deleted. Only the marker is written
// under a temporary name and renamed, because readers know its key before it exists.
//
// When Put returns, the file and its directory are synced. Open creates and syncs the directories.
// After a failed fsync nothing is tried again, because the kernel may have dropped the pages. Each
// step whose failure would lose data has the comment "durable: …" at the end of its line.
//
// Get returns an *os.File, so that net/http can use sendfile. gocloud's fileblob can read the
// directory, with metadata=skip.
package dir

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/berth-registry/berth/internal/durable"
	"github.com/berth-registry/berth/storage/bucket"
)

// dirMode denies access to other users of the machine, whatever the umask is.
const dirMode fs.FileMode = 0o750

// Store is a bucket in a directory.
type Store struct {
	root    string // absolute
	disk    disk
	buffers *bucket.Buffers
	closed  atomic.Bool
}

var _ bucket.Store = (*Store)(nil)

// Open opens the bucket in the directory root. It creates the directory, its missing parents and
// the 256 directories in content/ and makes them durable, so that Put need not sync content/.
func Open(root string, o bucket.Options) (*Store, error) {
	root, err := filepath.Abs(root)
	if err == nil {
		err = makeDirs(root)
	}
	if err != nil {
		return nil, fmt.Errorf("bucket: open %s: %w", root, err)
	}
	return &Store{root: root, disk: system{}, buffers: bucket.NewBuffers(o)}, nil
}

func makeDirs(root string) error {
	content := filepath.Join(root, bucket.ContentDir)
	for _, path := range []string{root, content} {
		if err := durable.MakeDir(path, dirMode); err != nil {
			return err
		}
	}
	return durable.MakeDirsIn(content, bucket.ContentDirs(), dirMode)
}

// Close implements [bucket.Store].
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}

// usable returns the error of a call that must not start.
func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return fs.ErrClosed
	}
	return ctx.Err()
}

// path returns the path of the file or directory that key names.
func (s *Store) path(key string) string {
	return filepath.Join(s.root, filepath.FromSlash(key))
}

// wrapNoSpace wraps an error that means a full disk or a used up quota in bucket.ErrNoSpace, and
// returns others unchanged.
func wrapNoSpace(err error) error {
	if err != nil && isDiskFull(err) {
		return fmt.Errorf("%w: %w", bucket.ErrNoSpace, err)
	}
	return err
}

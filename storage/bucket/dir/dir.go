// Package dir keeps a bucket in a directory of a file system.
//
// An object is one file, whose path below the directory is its key, written under that name from
// its first byte; only the marker, whose key is known to everyone, is written under another name
// and renamed. So a file that is there may be a part: see [bucket.Store]. What a process leaves
// that dies in a Put stays until its key is deleted.
//
// When Put returns, the file and the directory that names it are fsynced. The directories
// themselves are made and fsynced by Open. After a failed fsync nothing is tried again, because the
// kernel may have dropped the pages. The steps whose failure would lose data are marked "durable:
// …" at the end of the line.
//
// What Get returns is an *os.File, so that net/http can serve it by sendfile. The directory is one
// that gocloud's fileblob reads, with metadata=skip.
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

// dirMode keeps other users of the machine from the images, whatever the umask.
const dirMode fs.FileMode = 0o750

// Store is a bucket in a directory.
type Store struct {
	root    string // absolute
	disk    disk
	buffers *bucket.Buffers
	closed  atomic.Bool
}

var _ bucket.Store = (*Store)(nil)

// Open opens the bucket in the directory root. The directory, its missing parents and the 256
// directories below content/ are made, and their entries are durable when Open returns: that spares
// every Put an fsync of content/.
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

// usable is asked at the start of every call.
func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return fs.ErrClosed
	}
	return ctx.Err()
}

// path is where the object, or the directory, of that key is.
func (s *Store) path(key string) string {
	return filepath.Join(s.root, filepath.FromSlash(key))
}

// noSpace adds bucket.ErrNoSpace to an error of a full disk or a used up quota.
func wrapNoSpace(err error) error {
	if err != nil && isDiskFull(err) {
		return fmt.Errorf("%w: %w", bucket.ErrNoSpace, err)
	}
	return err
}

// Package bucket keeps the registry's bytes: objects that are written once, read, and deleted, under keys that are
// never used again, in a gocloud.dev/blob bucket.
//
// What it guarantees:
//
//   - An object appears whole or not at all. A body whose reader fails, a context that ends, a full disk or an error of
//     the disk leave nothing under the key.
//   - When Put returns without error on file://, the object survives a power cut: the file is fsynced, renamed into
//     place, and its directory fsynced. The directories themselves are made and fsynced by Open. The same holds for
//     what Delete removed. After a failed fsync nothing is tried again, because the kernel may have dropped the pages.
//   - Memory does not follow the size of a body, nor the number of Puts beyond 32 KiB for each: large buffers are lent from
//     Options.Buffers, to bodies that come fast.
//   - What Get returns on file:// is an *os.File, so that net/http can serve it by sendfile.
//
// A Put that fails may nevertheless have happened (the last fsync failed after the rename). So whoever records keys
// records them before Put and deletes those whose Put failed.
//
// The steps whose failure would lose data are marked "durable: …" at the end of the line.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"
)

// ErrNoSpace says that the disk is full, that a quota is used up, or that less is free than Options.MinFree wants.
var ErrNoSpace = errors.New("no space left for uploads")

const (
	defaultBuffer = 256 << 10
	// So that 64 bodies at once have all that they can use.
	defaultBuffers = 36 << 20
	// Most bodies of a small push (configs, manifests' blobs) fit into the first buffer, which is smaller so that many
	// of them at once cost little.
	firstBuffer = 32 << 10
)

// Options are the settings of a Bucket. The zero value works.
type Options struct {
	// MinFree is how many bytes must stay free on the bucket's file system and on that of each of
	// Paths: Put fails with ErrNoSpace when there is less, before and during a body. Of inodes,
	// where a file system counts them, one for each 16 KiB of MinFree must stay free, or 5 % if
	// that is less. 0 turns the checks off. mem:// is never checked itself.
	MinFree int64
	// Paths are further directories whose free space counts.
	Paths []string
	// BufferSize is the size in bytes of the large buffers of a Put, 0 for 256 KiB. Bodies over 32
	// KiB use one, bodies over BufferSize two, as long as they come fast.
	BufferSize int
	// Buffers bounds the memory for buffers, in bytes, 0 for 36 MiB: a Put is lent a large one only
	// while those of all Puts, the small ones included, stay within it. Otherwise it goes on with
	// the 32 KiB that it always has.
	Buffers int64
	// Fault, where set, is called before each step with the step's name and a key that it concerns; an error fails the
	// step. The steps are, of Put: create, write (each chunk), sync, publish, syncdir; of Get: read; of Delete: delete
	// (each key), syncdir (each directory). It is for tests of what happens when a disk fails, and may be called from
	// several goroutines.
	Fault func(step, key string) error
}

// Bucket is an open bucket. Its methods may be called from several goroutines.
type Bucket struct {
	o       Options
	blobs   *blob.Bucket
	root    string // the directory of a file:// bucket, absolute; "" for mem://
	metrics *metrics
	closed  atomic.Bool

	first, large sync.Pool // of *[]byte
	buffers      budget    // of those that are in use
}

// Open opens the bucket that rawURL names:
//
//   - file:///an/absolute/directory, or file://./a/relative/one. The directory, its missing parents and the 256
//     directories below content/ are made, and their entries are durable when Open returns.
//   - mem://, a new and empty bucket in memory, for tests and demonstrations.
//
// Parameters of the URL that ask for what Open does anyway are accepted (metadata=skip, no_tmp_dir, create_dir; nomd5),
// any others are an error.
func Open(ctx context.Context, rawURL string, o Options) (*Bucket, error) {
	if o.BufferSize <= 0 {
		o.BufferSize = defaultBuffer
	}
	if o.Buffers <= 0 {
		o.Buffers = defaultBuffers
	}
	b := &Bucket{o: o, metrics: newMetrics()}
	b.buffers.max = o.Buffers
	b.first.New = func() any { p := make([]byte, min(firstBuffer, o.BufferSize)); return &p }
	b.large.New = func() any { p := make([]byte, o.BufferSize); return &p }

	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("bucket: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch u.Scheme {
	case fileblob.Scheme:
		err = b.openFiles(u)
	case memblob.Scheme:
		err = b.openMemory(u)
	default:
		err = fmt.Errorf("no bucket of the kind %q: use file:///directory or mem://", u.Scheme)
	}
	if err != nil {
		u.RawQuery = "" // there may be secrets
		return nil, fmt.Errorf("bucket: open %s: %w", u.Redacted(), err)
	}
	return b, nil
}

func (b *Bucket) openFiles(u *url.URL) error {
	root, err := directory(u)
	if err != nil {
		return err
	}
	if err := makeDirs(root); err != nil {
		return err
	}
	// CreateDir stays off: fileblob would make directories without an fsync.
	b.blobs, err = fileblob.OpenBucket(root, &fileblob.Options{
		NoTempDir:   true, // a temporary file beside its object: the rename must not cross file systems
		Metadata:    fileblob.MetadataDontWrite,
		DirFileMode: dirMode,
	})
	b.root = root
	return err
}

func (b *Bucket) openMemory(u *url.URL) error {
	if err := checkParameters(u, map[string]string{"nomd5": ""}); err != nil {
		return err
	}
	b.blobs = memblob.OpenBucket(&memblob.Options{NoMD5: true})
	return nil
}

// Close makes later calls fail with fs.ErrClosed. Objects that are being read stay readable; a Put that is running may
// finish.
func (b *Bucket) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	return b.blobs.Close()
}

// Collectors returns the metrics of this bucket, to be registered once.
func (b *Bucket) Collectors() []prometheus.Collector {
	return []prometheus.Collector{b.metrics.seconds}
}

// usable is asked at the start of every call.
func (b *Bucket) usable(ctx context.Context) error {
	if b.closed.Load() {
		return fs.ErrClosed
	}
	return ctx.Err()
}

func (b *Bucket) fault(step, key string) error {
	if b.o.Fault == nil {
		return nil
	}
	return b.o.Fault(step, key)
}

// CheckSpace returns ErrNoSpace when less is free than Options.MinFree asks for, as a Put would now.
func (b *Bucket) CheckSpace() error {
	if b.o.MinFree <= 0 {
		return nil
	}
	if b.root != "" {
		if err := checkFree(b.root, b.o.MinFree); err != nil {
			return err
		}
	}
	for _, path := range b.o.Paths {
		if err := checkFree(path, b.o.MinFree); err != nil {
			return err
		}
	}
	return nil
}

// room is what an ordinary user may still take of a file system.
type room struct {
	bytes  int64
	inodes int64
	all    int64 // inodes, free or not; 0 where they are not counted
}

// bytesPerInode is how many bytes of min_free stand for one inode: as many as mkfs.ext4 gives each.
const bytesPerInode = 16 << 10

// checkFree returns ErrNoSpace when fewer bytes than want are free on the file system of path, or
// as many fewer inodes; of a file system with few of them, 5 % are enough.
func checkFree(path string, want int64) error {
	free, err := freeRoom(path)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", path, err)
	}
	if free.bytes < want {
		return fmt.Errorf("%w: %d bytes are free on the file system of %s, %d must be", ErrNoSpace, free.bytes, path, want)
	}
	if inodes := min(want/bytesPerInode, free.all/20); free.inodes < inodes {
		return fmt.Errorf("%w: %d inodes are free on the file system of %s, %d must be", ErrNoSpace, free.inodes, path, inodes)
	}
	return nil
}

// noSpace adds ErrNoSpace to an error of a full disk or a used up quota.
func noSpace(err error) error {
	if err != nil && isDiskFull(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

func isNotExist(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || gcerrors.Code(err) == gcerrors.NotFound
}

// Package bucket defines the interface of the stores that hold the registry's bytes. Objects are
// written once, read, and deleted, and keys are never reused. Package
// [github.com/berth-registry/berth/storage/bucket/dir] implements Store in a directory, and
// [github.com/berth-registry/berth/storage/bucket/cloud] on object stores. The suite in
// storage/bucket/buckettest tests implementations.
//
// A Store guarantees:
//
//   - When Put has returned nil, the object is complete and survives a power cut. When Delete has
//     returned nil, the removal survives a power cut.
//   - Before Put returns, an incomplete object may be under the key, so it must not be read. If src
//     fails, ctx ends, or the disk is full or fails, Put removes it. If the process dies, it stays.
//     So the caller records the key before Put, and deletes the recorded keys whose Put did not
//     succeed.
//   - A Put that returns an error may have happened, so the caller deletes its key too.
//   - The memory for buffers does not depend on the size of the bodies. Each Put has 32 KiB. Large
//     buffers are lent to fast bodies, within Options.Buffers. An object store has 64 KiB more for
//     each Put, and buffers for the parts of larger bodies.
//
// The package also has what all stores share: the forms of keys and URLs, the buffers of Put, and
// wrappers that keep space free and that record metrics.
package bucket

import (
	"context"
	"errors"
	"io"
	"iter"
)

// ErrNoSpace means that the disk is full, that a quota is used up, or that less space is free than
// LimitSpace requires.
var ErrNoSpace = errors.New("no space left for uploads")

// ErrUnreadable means that the bucket has the object and can be read, but this object cannot: for
// example, the mode of its file forbids it, or its part of the disk is broken.
var ErrUnreadable = errors.New("object cannot be read")

// ErrSize means that an object has another size than the caller of Get expects.
var ErrSize = errors.New("object has another size")

// Store is a bucket. It is safe for concurrent use.
type Store interface {
	// Put writes src, until io.EOF, to the object with the key. It also writes the same bytes in
	// order to sum. For large bodies a second goroutine does that; it has ended when Put returns. n
	// is the number of bytes that were read from src and written to sum, also after an error.
	//
	// When Put returns nil, the object exists and is durable. After an error it does not exist,
	// except that it may if the last step failed. The key must be new: a Put to an existing key has
	// no defined result. Only the marker may exist: a directory replaces it, and an object store
	// keeps it and returns fs.ErrExist. Errors:
	//   - ErrNoSpace if the disk is full, also in the middle of a body
	//   - ErrKey if the key is malformed
	//   - the error of src
	//   - the error of ctx; it is checked between reads of src, and does not interrupt a read
	//   - fs.ErrClosed after Close
	//   - other errors of the disk or of the store
	Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (n int64, err error)

	// CheckSpace returns nil if there seems to be enough space for a Put. A full disk may show only
	// in Put.
	// Errors: ErrNoSpace, and those of measuring the free space.
	CheckSpace() error

	// Get opens an object for reading, at an offset of at most its size; the caller closes it. size
	// is the object's size in bytes, or UnknownSize. A body that ends before that size is an error,
	// never io.EOF. An object that is deleted while it is open stays readable in a directory. The
	// end of ctx ends reads of an object store. Errors:
	//   - fs.ErrNotExist if there is no such object
	//   - ErrSize if it has another size
	//   - ErrUnreadable
	//   - ErrKey if the key is malformed
	//   - fs.ErrClosed after Close
	//   - other errors of the disk or of the store, which may pass
	Get(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error)

	// OpensFiles reports whether Get returns an *os.File, in which a Seek costs nothing and which
	// net/http can send with sendfile. Otherwise each Get is a request.
	OpensFiles() bool

	// Delete removes objects durably. A missing object is not an error. An error for one key does
	// not stop the removal of the others. After an error any of the objects may be gone, and may be
	// there again after a power cut: the caller must call Delete with the same keys again.
	Delete(ctx context.Context, keys ...string) error

	// Keys yields all keys in byte order. It is for checks of the whole bucket, because its cost
	// grows with the number of objects. An error ends the sequence. Objects that are written or
	// deleted at the same time may or may not be included.
	Keys(ctx context.Context) iter.Seq2[string, error]

	// Close makes later calls fail with fs.ErrClosed. Open objects stay readable, and a running Put
	// may complete.
	Close() error
}

// UnknownSize stands for a size that the caller of Get does not know.
const UnknownSize = -1

// Options are the settings of a Store. The zero value works.
type Options struct {
	// BufferSize is the size of a large buffer in bytes; 0 means 256 KiB. A fast body larger than
	// 32 KiB uses one, and one larger than BufferSize uses two.
	BufferSize int
	// Buffers limits the memory for the small and large buffers of all Puts, in bytes; 0 means 36
	// MiB. A Put that would exceed it gets no large buffer, and goes on with its 32 KiB.
	Buffers int64
	// UploadMemory limits the memory that an object store has for bodies of more than 64 KiB, in
	// bytes, beside Buffers; 0 means DefaultUploadMemory, and less than MinUploadMemory means that.
	UploadMemory int64
}

const (
	// DefaultUploadMemory is for 12 bodies at once; others wait.
	DefaultUploadMemory = 64 << 20
	// MinUploadMemory is for one body in every kind of store.
	MinUploadMemory = 10 << 20
)

// Package bucket is the contract of the stores that keep the registry's bytes: objects that are
// written once, read, and deleted, under keys that are never used again. Store is the contract,
// [github.com/berth-registry/berth/storage/bucket/dir] keeps it on a directory and
// [github.com/berth-registry/berth/storage/bucket/cloud] on gocloud. The suite of
// storage/bucket/buckettest tests it.
//
// What a Store guarantees:
//
//   - When Put returned without an error, the object is whole and survives a power cut. The same
//     holds for what Delete removed.
//   - An object must not be read before its Put returned: until then a part of it may be there. A
//     reader that fails, a context that ends, a full disk or an error of the disk leave nothing
//     under the key. A process that dies may leave a part, so the caller of Put records the key
//     before, and deletes what is recorded and was not acknowledged.
//   - A Put that fails may nevertheless have happened. So the key of a failed Put is deleted too.
//   - Memory follows neither the size of a body nor, beyond 32 KiB for each, the number of Puts:
//     large buffers are lent from Options.Buffers, to bodies that come fast.
//
// What every store needs stands here too: the shapes of keys and URLs, the buffers of a Put, and
// wrappers that leave space free and that measure.
package bucket

import (
	"context"
	"errors"
	"io"
	"iter"
)

// ErrNoSpace is the error of a Put to a disk that is full or has less free space than LimitSpace
// leaves, or of a quota that is used up.
var ErrNoSpace = errors.New("no space left for uploads")

// Store is a bucket. Its methods may be called from several goroutines.
type Store interface {
	// Put writes what src has, until io.EOF, to key, and gives every byte in order to sum as well
	// (of large bodies from a second goroutine, which has ended when Put returns). n is the number
	// of bytes that src gave and sum got, also when Put fails.
	//
	// Without an error the object is there and durable. With one it is not there, except that it
	// may be when the last step failed. The key must be new: what a Put to one that exists does is
	// not defined. Errors:
	//   - ErrNoSpace for a full disk, also in mid-body
	//   - ErrKey for a key of another shape
	//   - the error of src, or of ctx when that ended: ctx is looked at between two reads of src,
	//     and cannot cut a read short
	//   - fs.ErrClosed after Close
	//   - others are those of the disk
	Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (n int64, err error)

	// CheckSpace returns the error with which Put would refuse an object now for want of space, as
	// far as that is known before the first byte: a full disk may show itself only to Put.
	// Errors: ErrNoSpace, and those of looking at the file system.
	CheckSpace() error

	// Get opens the object of that key for reading; the caller closes it. An object that is deleted
	// meanwhile stays readable to the end. Errors:
	//   - fs.ErrNotExist when there is none
	//   - ErrKey for a key of another shape
	//   - fs.ErrClosed after Close
	Get(ctx context.Context, key string) (io.ReadSeekCloser, error)

	// Delete removes the objects of those keys, durably: after a power cut they are still gone. A
	// key without an object is no error. With an error some may be gone and others not, and some
	// may come back with the next power cut: it is safe, and needed, to call Delete again with the
	// same keys. One key's error does not keep the others from being removed.
	Delete(ctx context.Context, keys ...string) error

	// Keys yields every key in byte order, for checks of the whole bucket: it costs as much as the
	// bucket is large. An error ends it. Objects that come or go meanwhile, or are being written,
	// may or may not be among them.
	Keys(ctx context.Context) iter.Seq2[string, error]

	// Close makes later calls fail with fs.ErrClosed. Objects that are being read stay readable; a
	// Put that is running may finish.
	Close() error
}

// Options are the settings of a Store. The zero value works.
type Options struct {
	// BufferSize is the size in bytes of the large buffers of a Put, 0 for 256 KiB. Bodies over 32
	// KiB use one, bodies over BufferSize two, as long as they come fast.
	BufferSize int
	// Buffers bounds the memory for buffers, in bytes, 0 for 36 MiB: a Put is lent a large one only
	// while those of all Puts, the small ones included, stay within it. Otherwise it goes on with
	// the 32 KiB that it always has.
	Buffers int64
}

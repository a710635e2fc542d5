package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"gocloud.dev/blob"

	"github.com/berth-registry/berth/internal/durable"
)

// Free space is looked at again after this many bytes of a body.
const spaceInterval = 1 << 20

// Put writes what src has, until io.EOF, to key, giving every byte in order to sum as well (of large bodies from a
// second goroutine, which has ended when Put returns). n is the number of bytes that src gave and sum got, also when
// Put fails.
//
// Without an error the object is there and durable. With one it is not there, except that it may be when making the
// directory durable failed last; so the key of a failed Put is to be deleted. Errors:
//   - ErrNoSpace for a full disk or too little free space, also in mid-body
//   - ErrKey for a key of another shape
//   - the error of src, or of ctx when that ended: ctx is looked at between two reads of src, and cannot cut a read short
//   - fs.ErrClosed after Close
//   - others are those of the disk
//
// The key must be new: a Put to one that exists, or is just being written, has no defined result.
func (b *Bucket) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (n int64, err error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if err := b.usable(ctx); err != nil {
		return 0, err
	}
	start, s := time.Now(), &stream{src: src, sum: sum}
	defer func() {
		own := time.Since(start) - s.waited
		if s.aborted || err != nil && ctx.Err() != nil {
			b.metrics.put.aborted.Observe(own.Seconds())
		} else {
			b.metrics.put.observe(own, err)
		}
	}()
	o, err := b.create(ctx, key)
	if err == nil {
		defer o.close()
		s.write = o.write
		err = b.copy(ctx, s)
	}
	if err == nil {
		err = o.publish()
	}
	if err != nil {
		return s.n, fmt.Errorf("bucket: put %s: %w", key, err)
	}
	return s.n, nil
}

// object is one that is being written.
type object struct {
	b      *Bucket
	key    string
	w      *blob.Writer
	cancel context.CancelFunc // makes w.Close discard the object
	ended  bool               // w is closed

	// Of file:// only.
	file *os.File // the temporary file that w writes
	dir  *os.File // the directory of the object

	unchecked int // bytes written since the free space was looked at
}

func (b *Bucket) create(ctx context.Context, key string) (_ *object, err error) {
	if err := b.fault("create", key); err != nil {
		return nil, noSpace(err)
	}
	if err := b.CheckSpace(); err != nil {
		return nil, err
	}
	o := &object{b: b, key: key}
	opts := &blob.WriterOptions{ContentType: "application/octet-stream"} // else gocloud sniffs one
	if b.root != "" {
		// The directory is opened before the object is renamed into it and by each Put anew, because an error of
		// writing it back is reported once to every descriptor that was open at the time: one shared by all Puts would
		// tell one of them. Also, where the directory went missing this fails, and fileblob does not make another one
		// that no fsync covers (or one below the mount point of a disk that is gone).
		o.dir, err = os.Open(b.filePath(path.Dir(key)))
		if err != nil {
			return nil, noSpace(err)
		}
		opts.BeforeWrite = func(as func(any) bool) error {
			if !as(&o.file) {
				return errors.New("fileblob does not give its file away")
			}
			return nil
		}
	}
	wctx, cancel := context.WithCancel(ctx)
	o.cancel = cancel
	o.w, err = b.blobs.NewWriter(wctx, key, opts)
	if err != nil {
		cancel()
		o.closeDir()
		return nil, noSpace(err)
	}
	return o, nil
}

// write appends p.
func (o *object) write(p []byte) error {
	if err := o.b.fault("write", o.key); err != nil {
		return noSpace(err)
	}
	if o.unchecked += len(p); o.unchecked > spaceInterval {
		if err := o.b.CheckSpace(); err != nil {
			return err
		}
		o.unchecked = len(p)
	}
	_, err := o.w.Write(p)
	return noSpace(err)
}

// publish makes the bytes durable, then gives them their key, then makes that durable: open, write, fsync, close,
// rename, fsync of the directory.
func (o *object) publish() error {
	err := o.b.fault("sync", o.key)
	if err == nil && o.file != nil {
		err = o.file.Sync() // durable: file
	}
	if err != nil {
		return noSpace(err)
	}
	if err := o.b.fault("publish", o.key); err != nil {
		return noSpace(err)
	}
	if err := o.end(); err != nil {
		return noSpace(err)
	}
	err = o.b.fault("syncdir", o.key)
	if err == nil && o.dir != nil {
		err = durable.SyncOpenDir(o.dir) // durable: directory
	}
	return noSpace(err)
}

// end closes the writer, which publishes the object, or discards it when the context has ended.
func (o *object) end() error {
	o.ended = true
	err := o.w.Close()
	if err != nil && o.file != nil {
		os.Remove(o.file.Name()) // fileblob leaves it when the file does not close well
	}
	return err
}

// close discards the object unless it was published, and lets go of all that create took.
func (o *object) close() {
	o.cancel()
	if !o.ended {
		o.end() // says only that it was cancelled
	}
	o.closeDir()
}

func (o *object) closeDir() {
	if o.dir != nil {
		o.dir.Close()
	}
}

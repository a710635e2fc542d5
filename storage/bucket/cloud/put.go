package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/storage/bucket"
)

const (
	// smallSize is the size of the buffer that each Put has. A body that fits takes none of the
	// pool, so that small bodies and clients that have sent little wait for nothing.
	smallSize = 64 << 10
	// maxSending is the number of parts of one object that are sent at once, beside the one that is
	// being filled.
	maxSending = 4
	// abortTimeout is the time for removing what a failed Put has left.
	abortTimeout = 30 * time.Second
)

// smallBuffers are the buffers of smallSize.
var smallBuffers = sync.Pool{New: func() any { p := make([]byte, 0, smallSize); return &p }}

// Put implements [bucket.Store]. The object appears only when it is complete. A body that fits into
// one part is one request. A larger one is collected in buffers of the pool, of which it has one,
// and more while some are free. Between reads of src it may wait for a buffer.
func (s *Store) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (n int64, err error) {
	if err := bucket.CheckKey(key); err != nil {
		return 0, err
	}
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	if n, err = s.put(ctx, key, src, sum); err != nil {
		if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
			err = errors.Join(err, ended)
		}
		return n, fmt.Errorf("bucket: put %s: %w", key, err)
	}
	return n, nil
}

func (s *Store) put(ctx context.Context, key string, src io.Reader, sum io.Writer) (n int64, err error) {
	w := &objectWriter{Store: s, name: s.prefix + key, onlyNew: key == bucket.Marker}
	w.small = smallBuffers.Get().(*[]byte)
	w.buf = (*w.small)[:0]
	defer func() { w.close(ctx) }()
	n, err = s.buffers.Copy(ctx, src, sum, func(p []byte) error { return w.write(ctx, p) })
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = w.complete(ctx)
	}
	return n, err
}

// objectWriter writes one object.
type objectWriter struct {
	*Store
	name    string
	onlyNew bool

	small *[]byte // nil after the body has outgrown it
	buf   []byte  // the bytes that are not sent yet, in small or in a buffer of the pool

	parts   parts // nil until the body has outgrown its first part
	number  int   // of the next part, from 0 on
	sending *errgroup.Group
	partCtx context.Context // of sending; ends when a part has failed
	stop    func()          // ends partCtx
	done    bool            // the object is complete
}

// write appends p. It waits while the pool is used up, or the parts that are being sent are many.
func (w *objectWriter) write(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		if len(w.buf) == cap(w.buf) {
			if err := w.makeRoom(ctx); err != nil {
				return err
			}
		}
		n := min(len(p), cap(w.buf)-len(w.buf))
		w.buf, p = append(w.buf, p[:n]...), p[n:]
	}
	return nil
}

// makeRoom replaces or empties the full buffer.
func (w *objectWriter) makeRoom(ctx context.Context) error {
	if w.small == nil {
		return w.sendFull(ctx)
	}
	buf, err := w.pool.take(ctx, 1, w.traits.ownUnits)
	if err != nil {
		return err
	}
	w.buf = append(buf, w.buf...)
	w.releaseSmall()
	return nil
}

// sendFull sends the full buffer as a part: beside the reading of the next one if the pool has a
// buffer to spare, else before it.
func (w *objectWriter) sendFull(ctx context.Context) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	most := w.traits.maxParts
	if most > 0 && w.number >= most-1 { // the last part is for the end of the body
		return fmt.Errorf("the object is too large for %d parts: a larger storage.upload_memory makes larger parts", most)
	}
	number, units := w.number, int64(1)
	if most > 0 {
		units = w.pool.partUnits(w.number + 1)
	}
	w.number++
	if w.traits.parallel {
		if next := w.pool.tryTake(units, 0); next != nil {
			full := w.buf
			if w.sending.TryGo(func() error { return w.sendAndRelease(number, full) }) {
				w.buf = next
				return nil
			}
			w.pool.release(next, 0)
		}
	}
	if err := w.send(number, w.buf); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	return w.resize(ctx, units)
}

// begin starts the upload of parts, unless that is done.
func (w *objectWriter) begin(ctx context.Context) (err error) {
	if w.parts == nil {
		p, err := w.service.startParts(ctx, w.name)
		if err != nil {
			return err
		}
		w.parts = p
		ctx, w.stop = context.WithCancel(ctx)
		w.sending, w.partCtx = errgroup.WithContext(ctx)
		w.sending.SetLimit(maxSending)
	}
	return context.Cause(w.partCtx)
}

// send sends a part. If another part has failed before, it returns the error of that.
func (w *objectWriter) send(number int, body []byte) error {
	err := w.parts.write(w.partCtx, number, body)
	if cause := context.Cause(w.partCtx); err != nil && cause != nil {
		return cause
	}
	return err
}

func (w *objectWriter) sendAndRelease(number int, full []byte) error {
	defer w.pool.release(full, 0)
	return w.send(number, full)
}

// resize replaces the empty buffer if the next part has another size. It holds no buffer while it
// waits.
func (w *objectWriter) resize(ctx context.Context, units int64) error {
	extra := w.traits.ownUnits
	if int64(cap(w.buf)) == units*partSize {
		return nil
	}
	w.pool.release(w.buf, extra)
	w.buf = nil
	buf, err := w.pool.take(ctx, units, extra)
	w.buf = buf
	return err
}

// complete makes the object of the bytes that were written.
func (w *objectWriter) complete(ctx context.Context) error {
	if w.parts == nil {
		err := w.service.put(ctx, w.name, w.buf, w.onlyNew)
		w.done = err == nil
		return err
	}
	if len(w.buf) > 0 {
		if err := w.send(w.number, w.buf); err != nil {
			return err
		}
	}
	if err := w.sending.Wait(); err != nil {
		return err
	}
	err := w.parts.complete(ctx)
	w.done = err == nil
	return err
}

// close releases the memory. Unless the object is complete, it waits for the parts that are being
// sent and removes all parts. ctx may have ended: the removal has a time of its own.
func (w *objectWriter) close(ctx context.Context) {
	if w.parts != nil && !w.done {
		w.stop()
		_ = w.sending.Wait() // complete or write has returned its error
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		_ = w.parts.abort(ctx) // else the deletion of the key removes them
	}
	if w.parts != nil {
		w.stop()
	}
	if w.small != nil {
		w.releaseSmall()
	} else if w.buf != nil {
		w.pool.release(w.buf, w.traits.ownUnits)
	}
}

func (w *objectWriter) releaseSmall() {
	smallBuffers.Put(w.small)
	w.small = nil
}

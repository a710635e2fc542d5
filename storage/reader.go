package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/berth-registry/berth/storage/meta"
)

// blobReader reads the objects of a blob as one sequence of bytes. It looks an object up when it
// reaches it, so that a small range of a blob of many objects costs no more than one of another
// blob. It has at most one object open.
type blobReader struct {
	size   int64
	find   func(offset int64) (objectSpan, error) // returns a span that has the byte at offset
	open   func(o meta.Object, offset int64) (io.ReadCloser, error)
	failed func(o meta.Object, cause error) error // handles an error of open, and returns that for Read

	span      objectSpan    // what find returned last
	offset    int64         // of the next byte
	cur       io.ReadCloser // the open object with the byte at offset; nil if none is open
	remaining int64         // bytes of cur that are not read yet
}

// objectSpan is a run of consecutive objects of a blob. The first begins at the offset start.
type objectSpan struct {
	start   int64
	objects []meta.Object
}

// objectAt returns the object that has the byte at offset, and the offset at which the object
// begins.
func (s objectSpan) objectAt(offset int64) (o meta.Object, start int64, found bool) {
	start = s.start
	for _, o := range s.objects {
		if start <= offset && offset < start+o.Size {
			return o, start, true
		}
		start += o.Size
	}
	return meta.Object{}, 0, false
}

// openWhole returns the open object of a blob of one object. For other blobs it returns b.
func (b *blobReader) openWhole() (io.ReadSeekCloser, error) {
	if b.size == 0 {
		return b, nil
	}
	if b.span.objects == nil {
		var err error
		if b.span, err = b.find(0); err != nil {
			return nil, err
		}
	}
	if o, _, _ := b.span.objectAt(0); o.Size != b.size {
		return b, nil
	}
	if err := b.openCurrent(); err != nil {
		return nil, err
	}
	whole, ok := b.cur.(io.ReadSeekCloser)
	if !ok || b.remaining != b.size { // a push has replaced the objects meanwhile
		return b, nil
	}
	return whole, nil
}

// Read implements io.Reader. It returns io.EOF only after the last byte of the blob. An empty buf
// makes it open the object of the next byte.
func (b *blobReader) Read(buf []byte) (int, error) {
	if b.offset >= b.size {
		return 0, io.EOF
	}
	if b.cur == nil {
		if err := b.openCurrent(); err != nil {
			return 0, err
		}
	}
	if len(buf) == 0 {
		return 0, nil
	}
	n, err := b.cur.Read(buf[:min(int64(len(buf)), b.remaining)])
	b.offset += int64(n)
	b.remaining -= int64(n)
	if b.remaining == 0 {
		return n, b.closeCurrent()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// openCurrent opens the object that has the byte at the offset. If that fails, the object is looked
// up once more, since a push may have replaced the objects of the blob.
func (b *blobReader) openCurrent() error {
	o, start, found := b.span.objectAt(b.offset)
	for try := 0; ; try++ {
		if !found || try > 0 {
			var err error
			if b.span, err = b.find(b.offset); err != nil {
				return err
			}
			if o, start, found = b.span.objectAt(b.offset); !found {
				return fmt.Errorf("the byte at %d lies in no object", b.offset)
			}
		}
		f, err := b.open(o, b.offset-start)
		switch {
		case err != nil && try == 0:
			continue
		case err != nil:
			return b.failed(o, err)
		}
		b.cur, b.remaining = f, start+o.Size-b.offset
		return nil
	}
}

// closeCurrent closes the open object, if there is one.
func (b *blobReader) closeCurrent() error {
	if b.cur == nil {
		return nil
	}
	err := b.cur.Close()
	b.cur = nil
	return err
}

// Seek implements io.Seeker. It opens nothing.
func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.offset
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of the blob")
	}
	if offset == b.offset {
		return offset, nil
	}
	b.offset = offset
	return offset, b.closeCurrent()
}

// Close implements io.Closer.
func (b *blobReader) Close() error { return b.closeCurrent() }

const (
	// spanObjects is the number of objects that one lookup returns.
	spanObjects = 64
	// marksBytes is the size of the cache of marks.
	marksBytes = 1 << 20
)

// objectMarks are the offsets of every spanObjects-th object of a blob, so that finding an object
// does not read the rows of all objects before it. They are valid as long as the blob has its first
// object.
type objectMarks struct {
	firstKey string // of the first object
	marks    []meta.Mark
}

// findSpan returns a span of a blob that has the byte at offset.
func (r *Registry) findSpan(ctx context.Context, b Blob, offset int64) (objectSpan, error) {
	known, ok := r.marks.get(b.key())
	for range 3 { // a push may replace the objects meanwhile
		if !ok {
			var err error
			if known.firstKey, known.marks, err = r.db.BlobMarks(ctx, b.id, spanObjects); err != nil {
				return objectSpan{}, err
			}
			r.marks.add(b.key(), known, len(known.firstKey)+16*len(known.marks))
		}
		if span, err := r.spanByMarks(ctx, b, known, offset); err != nil || len(span.objects) > 0 {
			return span, err
		}
		ok = false
	}
	return objectSpan{}, errorf(ErrBlobUnknown, "the blob %s was deleted meanwhile", b.Digest)
}

// spanByMarks finds a span by means of marks. The span is empty if the marks are not valid any
// more.
func (r *Registry) spanByMarks(ctx context.Context, b Blob, known objectMarks, offset int64) (objectSpan, error) {
	i, exact := slices.BinarySearchFunc(known.marks, offset, func(m meta.Mark, offset int64) int {
		return cmp.Compare(m.Start, offset)
	})
	if !exact {
		i--
	}
	if i < 0 {
		return objectSpan{}, nil
	}
	objects, err := r.db.BlobObjectsFrom(ctx, b.id, known.firstKey, known.marks[i].Seq, spanObjects)
	return objectSpan{known.marks[i].Start, objects}, err
}

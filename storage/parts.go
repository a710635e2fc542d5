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

// parts reads the objects of a blob one after another as one. It looks each up when it comes to it,
// so that a few bytes of a blob of many objects cost no more than those of another, and holds at
// most one of them open.
type blobReader struct {
	size   int64
	find   func(offset int64) (objectSpan, error) // looks up the object that has the byte at offset
	open   func(meta.Object) (io.ReadSeekCloser, error)
	onGone func(key string) error // what it means for the blob that an object is gone

	span      objectSpan        // what was looked up last
	offset    int64             // of the next byte
	cur       io.ReadSeekCloser // nil, or the object that offset lies in, at its place
	remaining int64             // bytes to read from cur
}

// page is some objects that follow one another in a blob, the first of which begins at start.
type objectSpan struct {
	start   int64
	objects []meta.Object
}

// at returns the object that has the byte at offset, if it is on the page, and where in the blob
// that object begins.
func (p objectSpan) objectAt(offset int64) (o meta.Object, start int64, found bool) {
	start = p.start
	for _, o := range p.objects {
		if start <= offset && offset < start+o.Size {
			return o, start, true
		}
		start += o.Size
	}
	return meta.Object{}, 0, false
}

// whole returns the object of a blob that is one object, and else the parts.
func (p *blobReader) openWhole() (io.ReadSeekCloser, error) {
	if p.size == 0 {
		return p, nil
	}
	if p.span.objects == nil {
		var err error
		if p.span, err = p.find(0); err != nil {
			return nil, err
		}
	}
	if o, _, _ := p.span.objectAt(0); o.Size != p.size {
		return p, nil
	}
	if err := p.openCurrent(); err != nil {
		return nil, err
	}
	if p.remaining != p.size { // the blob has got other objects meanwhile
		return p, nil
	}
	return p.cur, nil
}

// Read implements io.Reader. It never ends before all bytes were read. An empty buf makes it open
// the object of the next byte.
func (p *blobReader) Read(buf []byte) (int, error) {
	if p.offset >= p.size {
		return 0, io.EOF
	}
	if p.cur == nil {
		if err := p.openCurrent(); err != nil {
			return 0, err
		}
	}
	if len(buf) == 0 {
		return 0, nil
	}
	n, err := p.cur.Read(buf[:min(int64(len(buf)), p.remaining)])
	p.offset += int64(n)
	p.remaining -= int64(n)
	if p.remaining == 0 {
		return n, p.closeCurrent()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// enter opens the object that the offset lies in. One that is gone is looked up once more: another
// push may have given the blob other objects.
func (p *blobReader) openCurrent() error {
	o, start, found := p.span.objectAt(p.offset)
	for try := 0; ; try++ {
		if !found || try > 0 {
			var err error
			if p.span, err = p.find(p.offset); err != nil {
				return err
			}
			if o, start, found = p.span.objectAt(p.offset); !found {
				return fmt.Errorf("the byte at %d lies in no object", p.offset)
			}
		}
		f, err := p.open(o)
		switch {
		case errors.Is(err, errGone) && try == 0:
			continue
		case errors.Is(err, errGone):
			return p.onGone(o.Key)
		case err != nil:
			return err
		}
		p.cur, p.remaining = f, start+o.Size-p.offset
		_, err = f.Seek(p.offset-start, io.SeekStart)
		return err
	}
}

func (p *blobReader) closeCurrent() error {
	if p.cur == nil {
		return nil
	}
	err := p.cur.Close()
	p.cur = nil
	return err
}

// Seek implements io.Seeker. It opens nothing.
func (p *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.offset
	case io.SeekEnd:
		offset += p.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of the blob")
	}
	if offset == p.offset {
		return offset, nil
	}
	p.offset = offset
	return offset, p.closeCurrent()
}

// Close implements io.Closer.
func (p *blobReader) Close() error { return p.closeCurrent() }

const (
	// pageParts is how many objects of a blob are looked up at once.
	spanObjects = 64
	// marksBytes bounds the memory for marks. Those of a blob that was forgotten are read again.
	marksBytes = 1 << 20
)

// partMarks say where every pageParts-th object of a blob begins, so that finding one does not read
// the rows of all that come before it. They hold for as long as the blob has the first object.
type objectMarks struct {
	firstKey string // its key
	marks    []meta.Mark
}

// findParts looks up the object of a blob that has the byte at offset, with those around it.
func (r *Registry) findSpan(ctx context.Context, b Blob, offset int64) (objectSpan, error) {
	known, ok := r.marks.get(b.id)
	for range 3 { // the blob may get other objects meanwhile
		if !ok {
			var err error
			if known.firstKey, known.marks, err = r.db.BlobMarks(ctx, b.id, spanObjects); err != nil {
				return objectSpan{}, err
			}
			r.marks.add(b.id, known, len(known.firstKey)+16*len(known.marks))
		}
		if p, err := r.spanByMarks(ctx, b, known, offset); err != nil || len(p.objects) > 0 {
			return p, err
		}
		ok = false
	}
	return objectSpan{}, errorf(ErrBlobUnknown, "the blob %s was deleted meanwhile", b.Digest)
}

// pageAt is findParts with marks. It finds nothing where the blob has other objects than they speak
// of.
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

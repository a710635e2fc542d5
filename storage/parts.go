package storage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/storage/meta"
)

// parts reads the objects of a blob one after another as one. It holds at most
// one of them open.
type parts struct {
	open    func(meta.Object) (io.ReadSeekCloser, error)
	objects []meta.Object
	size    int64

	offset int64             // of the next byte
	cur    io.ReadSeekCloser // nil, or the object that offset lies in, at its place
	left   int64             // bytes to read from cur
}

func newParts(ctx context.Context, b Bytes, objects []meta.Object) *parts {
	p := &parts{objects: objects, open: func(o meta.Object) (io.ReadSeekCloser, error) { return openObject(ctx, b, o) }}
	for _, o := range objects {
		p.size += o.Size
	}
	return p
}

// Read implements io.Reader. It never ends before all bytes were read.
func (p *parts) Read(buf []byte) (int, error) {
	if p.offset >= p.size {
		return 0, io.EOF
	}
	if len(buf) == 0 {
		return 0, nil
	}
	if p.cur == nil {
		if err := p.enter(); err != nil {
			return 0, err
		}
	}
	n, err := p.cur.Read(buf[:min(int64(len(buf)), p.left)])
	p.offset += int64(n)
	p.left -= int64(n)
	if p.left == 0 {
		return n, p.leave()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// enter opens the object that the offset lies in.
func (p *parts) enter() error {
	start := int64(0)
	for _, o := range p.objects {
		if p.offset < start+o.Size {
			f, err := p.open(o)
			if err != nil {
				return err
			}
			p.cur, p.left = f, start+o.Size-p.offset
			_, err = f.Seek(p.offset-start, io.SeekStart)
			return err
		}
		start += o.Size
	}
	return fmt.Errorf("offset %d lies in no part", p.offset)
}

func (p *parts) leave() error {
	if p.cur == nil {
		return nil
	}
	err := p.cur.Close()
	p.cur = nil
	return err
}

// Seek implements io.Seeker.
func (p *parts) Seek(offset int64, whence int) (int64, error) {
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
	return offset, p.leave()
}

// Close implements io.Closer.
func (p *parts) Close() error { return p.leave() }

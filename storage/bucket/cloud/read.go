package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/storage/bucket"
)

// Get implements [bucket.Store]. It sends one request, for the bytes from offset on. The answer has
// the size of the whole object.
func (s *Store) Get(ctx context.Context, key string, offset, size int64) (io.ReadSeekCloser, error) {
	if err := bucket.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	r := &reader{size: size, offset: offset}
	r.open = func(offset int64) (io.ReadCloser, int64, error) {
		body, err := s.blobs.NewRangeReader(ctx, s.prefix+key, offset, -1, nil)
		if err != nil {
			return nil, 0, fmt.Errorf("bucket: get %s: %w", key, readError(err))
		}
		return body, body.Size(), nil
	}
	if err := r.request(); err != nil {
		return nil, err
	}
	return r, nil
}

// reader reads an object. After a Seek it sends a new request with the next Read.
type reader struct {
	open   func(offset int64) (body io.ReadCloser, size int64, err error)
	size   int64         // of the object
	offset int64         // of the next byte
	body   io.ReadCloser // has the bytes from offset on; nil if none is open
}

// request opens the body at the offset and checks the size. A range that begins at the end is an
// error in all stores, so that for an object without bytes, or at its end, it asks for another one.
func (r *reader) request() error {
	offset := r.offset
	if offset == r.size {
		offset = max(0, r.size-1)
	}
	body, size, err := r.open(offset)
	if err != nil {
		return err
	}
	if r.size == bucket.UnknownSize {
		r.size = size
	}
	if size != r.size {
		body.Close()
		return fmt.Errorf("%w: %d bytes instead of %d", bucket.ErrSize, size, r.size)
	}
	r.body = body
	return nil
}

// Read implements io.Reader. It returns io.EOF only at the object's end.
func (r *reader) Read(p []byte) (int, error) {
	if r.size != bucket.UnknownSize && r.offset >= r.size {
		return 0, io.EOF
	}
	if r.body == nil {
		if err := r.request(); err != nil {
			return 0, err
		}
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.size-r.offset)])
	r.offset += int64(n)
	switch {
	case r.offset == r.size && n > 0:
		return n, nil // the next Read returns io.EOF
	case err == io.EOF:
		return n, fmt.Errorf("%w: %d of %d bytes", io.ErrUnexpectedEOF, r.offset, r.size)
	}
	return n, err
}

// Seek implements io.Seeker. It sends no request.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of the object")
	}
	if offset == r.offset {
		return offset, nil
	}
	r.offset = offset
	return offset, r.Close()
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}

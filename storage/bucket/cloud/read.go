package cloud

import (
	"context"
	"fmt"
	"io"

	"github.com/berth-registry/berth/storage/bucket"
)

// Get implements [bucket.Store]. It sends one request, for the bytes from offset on. The answer has
// the size of the whole object. A range that begins at the end is an error in all stores, so that
// for an object without bytes, or at its end, it asks for another one.
func (s *Store) Get(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	if err := bucket.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	from := offset
	if from == size {
		from = max(0, size-1)
	}
	body, err := s.blobs.NewRangeReader(ctx, s.prefix+key, from, -1, nil)
	if err != nil {
		return nil, fmt.Errorf("bucket: get %s: %w", key, readError(err))
	}
	if size == bucket.UnknownSize {
		size = body.Size()
	}
	if body.Size() != size {
		body.Close()
		return nil, fmt.Errorf("bucket: get %s: %w: %d bytes instead of %d", key, bucket.ErrSize, body.Size(), size)
	}
	return &reader{body: body, left: size - offset}, nil
}

// reader reads the rest of an object.
type reader struct {
	body io.ReadCloser
	left int64 // bytes until the object's end
}

// Read implements io.Reader. It returns io.EOF only at the object's end.
func (r *reader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case r.left == 0:
		return n, nil // the next Read returns io.EOF
	case err == io.EOF:
		return n, fmt.Errorf("%w: %d bytes are missing", io.ErrUnexpectedEOF, r.left)
	}
	return n, err
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.body.Close() }

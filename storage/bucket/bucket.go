// Package bucket keeps the registry's bytes: objects under keys that are never reused, in a gocloud bucket.
package bucket

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrNoSpace says that the bucket's disk is full, or fuller than Options.MinFree allows.
var ErrNoSpace = errors.New("no space left for uploads")

// Options are the settings of a Bucket; the zero value works.
type Options struct {
	MinFree    int64
	Paths      []string
	BufferSize int
	Fault      func(step, key string) error
}

// Bucket is an open bucket.
type Bucket struct{ o Options }

var errNotYet = errors.New("bucket: not built yet")

func Open(ctx context.Context, url string, o Options) (*Bucket, error) { return nil, errNotYet }
func (b *Bucket) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (int64, error) {
	return 0, errNotYet
}
func (b *Bucket) Get(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	return nil, errNotYet
}
func (b *Bucket) Delete(ctx context.Context, keys ...string) error   { return errNotYet }
func (b *Bucket) Sweep(ctx context.Context) (removed int, err error) { return 0, errNotYet }
func (b *Bucket) Keys(ctx context.Context) iter.Seq2[string, error]  { return nil }
func (b *Bucket) Collectors() []prometheus.Collector                 { return nil }
func (b *Bucket) Close() error                                       { return nil }

// FileURL returns the URL that opens dir.
func FileURL(dir string) (string, error) { return "", errNotYet }

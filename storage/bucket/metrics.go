package bucket

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Instrumented is a Store that records metrics of another one.
type Instrumented struct {
	Store
	seconds *prometheus.HistogramVec

	put, get, del outcomes
}

// outcomes are the histograms of one operation.
type outcomes struct {
	ok      prometheus.Observer
	failed  prometheus.Observer // the bucket failed
	aborted prometheus.Observer // the caller's reader failed, or its context ended
}

// Instrument returns s with metrics of its operations. Calls with a malformed key, with an ended
// context, or after Close are not counted.
func Instrument(s Store) *Instrumented {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "berth_bucket_operation_seconds",
		Help: "Time of the bucket's operations. That of put leaves out waiting for the client's bytes; " +
			"that of get ends when the object is open.",
		Buckets: prometheus.ExponentialBuckets(16e-6, 4, 11), // 16 µs to 17 s
	}, []string{"operation", "result"})
	of := func(operation string) outcomes {
		return outcomes{
			ok:      seconds.WithLabelValues(operation, "ok"),
			failed:  seconds.WithLabelValues(operation, "error"),
			aborted: seconds.WithLabelValues(operation, "aborted"),
		}
	}
	return &Instrumented{Store: s, seconds: seconds, put: of("put"), get: of("get"), del: of("delete")}
}

// Collectors returns the metrics. The caller registers them once.
func (m *Instrumented) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.seconds}
}

// Put implements [Store].
func (m *Instrumented) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (int64, error) {
	if ctx.Err() != nil {
		return m.Store.Put(ctx, key, src, sum)
	}
	start, timed := time.Now(), &timedReader{src: src}
	n, err := m.Store.Put(ctx, key, timed, sum)
	own := time.Since(start) - timed.waited
	if timed.failed || err != nil && ctx.Err() != nil {
		m.put.aborted.Observe(own.Seconds())
	} else {
		m.put.observe(own, err)
	}
	return n, err
}

// timedReader records how long the reads of src took, and whether the last one failed.
type timedReader struct {
	src    io.Reader
	waited time.Duration
	failed bool
}

// Read implements io.Reader.
func (r *timedReader) Read(p []byte) (int, error) {
	start := time.Now()
	n, err := r.src.Read(p)
	r.waited += time.Since(start)
	r.failed = err != nil && err != io.EOF
	return n, err
}

// Get implements [Store].
func (m *Instrumented) Get(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	if ctx.Err() != nil {
		return m.Store.Get(ctx, key, offset, size)
	}
	start := time.Now()
	r, err := m.Store.Get(ctx, key, offset, size)
	if errors.Is(err, fs.ErrNotExist) {
		m.get.observe(time.Since(start), nil)
	} else {
		m.get.observe(time.Since(start), err)
	}
	return r, err
}

// SignURL implements [Signer]. It is not counted: it usually sends no request.
func (m *Instrumented) SignURL(ctx context.Context, key string, o SignOptions) (string, error) {
	return SignURL(ctx, m.Store, key, o)
}

// RemoveParts implements [PartRemover]. It is not counted.
func (m *Instrumented) RemoveParts(ctx context.Context, keys ...string) error {
	return RemoveParts(ctx, m.Store, keys...)
}

// Delete implements [Store].
func (m *Instrumented) Delete(ctx context.Context, keys ...string) error {
	if ctx.Err() != nil {
		return m.Store.Delete(ctx, keys...)
	}
	start := time.Now()
	err := m.Store.Delete(ctx, keys...)
	m.del.observe(time.Since(start), err)
	return err
}

// observe records an operation that was not aborted, unless its key is malformed or s is closed.
func (o outcomes) observe(d time.Duration, err error) {
	switch {
	case err == nil:
		o.ok.Observe(d.Seconds())
	case !errors.Is(err, ErrKey) && !errors.Is(err, fs.ErrClosed):
		o.failed.Observe(d.Seconds())
	}
}

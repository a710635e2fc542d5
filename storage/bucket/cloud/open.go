package cloud

import (
	"context"
	"net/http"
	"time"

	"github.com/berth-registry/berth/storage/bucket"
)

const (
	// idleConnections is the number of connections that are kept for the next requests. The SDKs
	// keep 2 to 10, so that a busy registry would open one for nearly each request.
	idleConnections = 256
	// headerTimeout is the time for the head of an answer, after the request was sent.
	headerTimeout = time.Minute
	// maxAttempts is how often a request is sent that fails with a status or an error that may
	// pass, with random waits between.
	maxAttempts = 5
)

// Open opens a bucket in an object store. It sends no request to the bucket: see [Store.SelfTest].
func Open(ctx context.Context, l bucket.Location, o bucket.Options) (*Store, error) {
	open := openS3
	switch l.Kind {
	case bucket.GCS:
		open = openGCS
	case bucket.Azure:
		open = openAzure
	}
	s, err := open(ctx, l)
	if err != nil {
		return nil, err
	}
	s.prefix, s.pool, s.buffers = l.Prefix, newPool(o), bucket.NewBuffers(o)
	return s, nil
}

// tune sets up the transport of a client.
func tune(t *http.Transport) {
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idleConnections
	t.ResponseHeaderTimeout = headerTimeout
}

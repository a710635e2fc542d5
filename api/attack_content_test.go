package api

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket"
)

// watchedBytes counts what is read of a bucket.
type watchedBytes struct {
	storage.Bytes
	opened, read atomic.Int64
	waiting      chan struct{} // where not nil, has an element for each who opens an object, which waits for the end of its context
}

// Get opens an object.
func (b *watchedBytes) Get(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	if key != bucket.Marker {
		b.opened.Add(1)
		if b.waiting != nil {
			b.waiting <- struct{}{}
			<-ctx.Done()
		}
	}
	f, err := b.Bytes.Get(ctx, key)
	if err != nil || key == bucket.Marker {
		return f, err
	}
	return &watchedReader{f, &b.read}, nil
}

type watchedReader struct {
	io.ReadSeekCloser
	n *atomic.Int64
}

// Read reads and counts.
func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.ReadSeekCloser.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// watchedSite serves a registry on files below dir.
func watchedSite(t *testing.T, dir string) (*site, *watchedBytes) {
	t.Helper()
	watched := &watchedBytes{Bytes: newBucket(t, "file://"+filepath.ToSlash(dir))}
	return serveRegistry(t, registryOn(t, newDB(t), watched, storage.Options{}), Options{}), watched
}

// TestD3BrokenClose: requests that would close a session, but break off or hang up, make the registry read nothing, or not for
// longer than they last.
func TestD3BrokenClose(t *testing.T) {
	s, stored := watchedSite(t, t.TempDir())
	old := strings.Repeat("0123456789", 50_000)
	s.open("team/app")
	s.exchange(exchangeCase{Name: "patch", Method: "PATCH", URL: "{upload}", Body: old, WantCode: 202})
	put := func(id string, announced int) string {
		return fmt.Sprintf("PUT %s?digest=%s HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\nx",
			s.expand("{upload}"), sha512Of(old+"xy"), id, announced)
	}
	for i := range 10 {
		id := fmt.Sprintf("broken-%d", i)
		s.dial(put(id, 2)).Close()
		s.log.await(id, `"route":"upload"`)
	}
	if n := stored.read.Load(); n != 0 {
		t.Errorf("10 requests of 268 bytes that broke off read %d bytes", n)
	}
	stored.waiting = make(chan struct{})
	conn := s.dial(put("gone", 1))
	<-stored.waiting
	conn.Close()
	s.log.await("gone", `"status":499`)
	stored.waiting = nil
	if n := stored.read.Load(); n != 0 {
		t.Errorf("a request that hung up read %d bytes", n)
	}
	s.run([]exchangeCase{
		{"the session is as it was", "GET", "{upload}", nil, "", 204, header{"Range": fmt.Sprintf("0-%d", len(old)-1)}, "", "", "", ""},
		{"and is closed", "PUT", "{upload}?digest=" + sha512Of(old+"xy"), nil, "xy", 201, nil, "", "", "", ""},
	})
	if n := stored.read.Load(); n < int64(len(old)) || n >= 2*int64(len(old)) {
		t.Errorf("%d bytes were read of a body of %d", n, len(old)+2)
	}
}

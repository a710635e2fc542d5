package api

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
)

// countingBucket is a bucket that counts the objects opened and the bytes read.
type countingBucket struct {
	bucket.Store
	opened, read atomic.Int64
	waiting      chan struct{} // if set, Get sends an element and waits for the end of its context
}

func (b *countingBucket) Get(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	if key != bucket.Marker {
		b.opened.Add(1)
		if b.waiting != nil {
			b.waiting <- struct{}{}
			<-ctx.Done()
		}
	}
	f, err := b.Store.Get(ctx, key, offset, size)
	if err != nil || key == bucket.Marker {
		return f, err
	}
	return &countingReader{f, &b.read}, nil
}

type countingReader struct {
	io.ReadCloser
	n *atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// newCountingSite serves a registry on a directory.
func newCountingSite(t *testing.T, dir string) (*site, *countingBucket) {
	t.Helper()
	counting := &countingBucket{Store: testbucket.Open(t, "file://"+filepath.ToSlash(dir))}
	return serveRegistry(t, registryOn(t, newDB(t), counting, storage.Options{}), Options{}), counting
}

// TestD3BrokenClose sends requests that would finish an upload session, but break off. The registry
// reads no stored bytes for them, or stops when the request ends.
func TestD3BrokenClose(t *testing.T) {
	s, stored := newCountingSite(t, t.TempDir())
	old := strings.Repeat("0123456789", 50_000)
	s.openUpload("team/app")
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
	s.runCases([]exchangeCase{
		{
			Name: "the session is as it was", Method: "GET", URL: "{upload}",
			WantCode: 204, WantHeader: header{"Range": fmt.Sprintf("0-%d", len(old)-1)},
		},
		{Name: "and is closed", Method: "PUT", URL: "{upload}?digest=" + sha512Of(old+"xy"), Body: "xy", WantCode: 201},
	})
	if n := stored.read.Load(); n < int64(len(old)) || n >= 2*int64(len(old)) {
		t.Errorf("%d bytes were read of a body of %d", n, len(old)+2)
	}
}

// TestD6OneByteOfManyParts checks that one byte of a blob of many parts opens one object.
func TestD6OneByteOfManyParts(t *testing.T) {
	s, stored := newCountingSite(t, t.TempDir())
	parts := strings.Split(strings.Repeat("abcdefghij", 10), "")
	d := s.pushChunks("team/app", parts...)
	for _, test := range []struct {
		method, value string
		code          int
		opened        int64
	}{
		{"GET", "bytes=0-0", 206, 1}, {"GET", "bytes=99-", 206, 1}, {"GET", "bytes=40-49", 206, 10}, {"GET", "bytes=0-0,50-50,7-7", 206, 3},
		{"GET", "bytes=100-", 416, 0}, {"HEAD", "bytes=0-0", 206, 0}, {"GET", "", 200, 100},
	} {
		stored.opened.Store(0)
		s.exchange(exchangeCase{Name: test.value, Method: test.method, URL: "/v2/team/app/blobs/" + d, Header: header{"Range": test.value},
			WantCode: test.code, WantError: map[bool]string{true: "RANGE_INVALID"}[test.code == 416]})
		if n := stored.opened.Load(); n != test.opened {
			t.Errorf("%s %s: %d objects were opened, want %d", test.method, test.value, n, test.opened)
		}
	}
}

// TestD6ManyRanges checks that a header with too many ranges is refused before an object is opened.
func TestD6ManyRanges(t *testing.T) {
	s, stored := newCountingSite(t, t.TempDir())
	content := strings.Repeat("0123456789", 1000)
	d := s.pushBlob("team/app", content)
	ranges := func(n int) header {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("%d-%d", 5*i, 5*i))
		}
		return header{"Range": "bytes=" + strings.Join(all, ",")}
	}
	u := "/v2/team/app/blobs/" + d
	s.runCases([]exchangeCase{
		{Name: "as many as are sent", Method: "GET", URL: u, Header: ranges(maxRanges), WantCode: 206},
		{Name: "one more, head", Method: "HEAD", URL: u, Header: ranges(maxRanges + 1), WantCode: 400},
	})
	stored.opened.Store(0)
	s.runCases([]exchangeCase{
		{
			Name: "one more", Method: "GET", URL: u, Header: ranges(maxRanges + 1),
			WantCode: 400, WantHeader: header{"Docker-Content-Digest": absent, "Etag": absent}, WantError: "RANGE_INVALID",
		},
		{
			Name: "commas", Method: "GET", URL: u, Header: header{"Range": "bytes=" + strings.Repeat(",", 6000) + "0-0"},
			WantCode: 400, WantError: "RANGE_INVALID",
		},
	})
	if n := stored.opened.Load(); n != 0 {
		t.Errorf("%d objects were opened for ranges that are refused", n)
	}
}

// TestD6GonePart checks that a lost part gets an error status if the answer begins with it.
// Otherwise the answer is cut.
func TestD6GonePart(t *testing.T) {
	for name, test := range map[string]struct {
		value string
		code  int
		body  string
	}{
		"all":                 {"", 0, ""},
		"begins with it":      {"bytes=5-7", 404, ""},
		"begins with it, too": {"bytes=-10", 404, ""},
		"before it":           {"bytes=1-4", 206, "aaaa"},
		"after it":            {"bytes=10-", 206, "ccccc"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := newCountingSite(t, dir)
			d := s.pushChunks("team/app", "aaaaa", "bbbbb", "ccccc")
			removeObject(t, dir, "bbbbb")
			u := "/v2/team/app/blobs/" + d
			if test.code == 0 {
				got, _ := io.ReadAll(s.dial("GET " + u + " HTTP/1.1\r\nHost: localhost\r\n\r\n"))
				if strings.Contains(string(got), "ccccc") {
					t.Errorf("the answer goes on behind what is gone: %q", got)
				}
			} else {
				c := exchangeCase{Name: name, Method: "GET", URL: u, Header: header{"Range": test.value}, WantCode: test.code, WantBody: test.body}
				if test.code == 404 {
					c.WantError, c.WantHeader = "BLOB_UNKNOWN", header{"Content-Range": absent, "Etag": absent}
				}
				s.exchange(c)
			}
			damaged := test.code == 0 || test.code == 404
			s.exchange(exchangeCase{Name: "head", Method: "HEAD", URL: u, WantCode: map[bool]int{true: 404, false: 200}[damaged]})
			s.pushChunks("team/app", "aaaaa", "bbbbb", "ccccc")
			if damaged {
				s.exchange(exchangeCase{Name: "healed", Method: "GET", URL: u, WantCode: 200, WantBody: "aaaaabbbbbccccc"})
			}
		})
	}
}

// objectWith returns the path of the object below dir with this content.
func objectWith(t *testing.T, dir, content string) (path string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(p)
		if string(text) == content {
			path = p
		}
		return err
	})
	if err != nil || path == "" {
		t.Fatalf("no object has %q: %v", content, err)
	}
	return path
}

func removeObject(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.Remove(objectWith(t, dir, content)); err != nil {
		t.Fatal(err)
	}
}

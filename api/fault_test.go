package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/api/web/webtest"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
	"github.com/berth-registry/berth/storage/meta"
)

// faultySite is a site on files, whose bucket and commits a test can make fail.
type faultySite struct {
	*site
	bucket   *buckettest.Faulty
	dir      string                // of the bucket
	noCommit atomic.Pointer[error] // what commits fail with
	d        string                // of the blob "hello" in the repository a
}

// newFaultySite returns a site with an image a:v1, a blob, and an upload session saved as "up".
// Its connections need no file descriptors.
func newFaultySite(t *testing.T) *faultySite {
	f := &faultySite{dir: filepath.Join(t.TempDir(), "blobs")}
	f.bucket = &buckettest.Faulty{Store: testbucket.Open(t, "file://"+f.dir)}
	rows := dbtest.OpenFaulty(t, dbtest.File(t), func(step string) error {
		if err := f.noCommit.Load(); err != nil && step == "commit" {
			return *err
		}
		return nil
	})
	registry := registryOn(t, meta.New(rows), f.bucket, storage.Options{CacheBytes: 1 << 20})
	l := webtest.NewListener()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return l.Dial("192.0.2.1:1") }}
	t.Cleanup(transport.CloseIdleConnections)
	f.site = newUnservedSite(t, registry, Options{})
	f.addr, f.transport = "localhost", transport
	f.serveOn(l, f.server())
	f.pushImage("a", "v1", "")
	f.d = f.pushBlob("a", "hello")
	f.runCases([]exchangeCase{{Name: "POST", Method: "POST", URL: "/v2/a/blobs/uploads/", WantCode: 202, Save: "up"}})
	return f
}

// reads are requests that need rows only.
func (f *faultySite) reads() []exchangeCase {
	return []exchangeCase{
		{Name: "HEAD blob", Method: "HEAD", URL: "/v2/a/blobs/" + f.d, WantCode: 200},
		{Name: "GET manifest", Method: "GET", URL: "/v2/a/manifests/v1", WantCode: 200},
		{Name: "GET tags", Method: "GET", URL: "/v2/a/tags/list", WantCode: 200},
		{Name: "GET catalog", Method: "GET", URL: "/v2/_catalog", WantCode: 200},
		{Name: "GET referrers", Method: "GET", URL: "/v2/a/referrers/" + f.d, WantCode: 200},
		{Name: "GET upload", Method: "GET", URL: "{up}", WantCode: 204},
		{Name: "GET readyz", Method: "GET", URL: "/readyz", WantCode: 503}, // the test's site is not ready
	}
}

// fails runs a request whose answer must be 503 with Retry-After.
func (f *faultySite) fails(method, url, body string) {
	f.t.Helper()
	f.exchange(exchangeCase{Name: method + " " + url, Method: method, URL: url, Body: body, WantCode: 503,
		WantError: "UNAVAILABLE", WantHeader: header{"Retry-After": "5"}})
}

// failsInBucket runs the requests that need the bucket.
func (f *faultySite) failsInBucket() {
	f.t.Helper()
	f.fails("GET", "/v2/a/blobs/"+f.d, "")
	f.fails("POST", "/v2/a/blobs/uploads/?digest="+sha256Of("new"), "new")
	f.fails("POST", "/v2/b/blobs/uploads/?digest="+f.d, "hello")
	f.fails("PATCH", "{up}", "hel")
	f.fails("PUT", "{up}?digest="+sha256Of("x"), "x")
}

// TestBucketAway checks the answers while the bucket is away or fails as a whole, and that all is
// well when it is back.
func TestBucketAway(t *testing.T) {
	for name, test := range map[string]struct{ fail, repair func(f *faultySite) error }{
		"moved away": {
			func(f *faultySite) error { return os.Rename(f.dir, f.dir+"2") },
			func(f *faultySite) error { return os.Rename(f.dir+"2", f.dir) },
		},
		"disk errors": {
			func(f *faultySite) error {
				f.bucket.Fail = func(op, _ string) (bool, error) { return false, syscall.EIO }
				return nil
			},
			func(f *faultySite) error { f.bucket.Fail = nil; return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaultySite(t)
			if err := test.fail(f); err != nil {
				t.Fatal(err)
			}
			f.runCases(f.reads())
			f.failsInBucket()
			f.runCases(f.reads())
			if err := test.repair(f); err != nil {
				t.Fatal(err)
			}
			f.runCases([]exchangeCase{
				{Name: "GET", Method: "GET", URL: "/v2/a/blobs/" + f.d, WantCode: 200, WantBody: "hello"},
				{Name: "PUT", Method: "PUT", URL: "{up}?digest=" + sha256Of("x"), Body: "x", WantCode: 201},
			})
		})
	}
}

// TestDatabaseFails checks the answers while no transaction can commit, and that all is well when
// they can again.
func TestDatabaseFails(t *testing.T) {
	f := newFaultySite(t)
	payload, _ := f.pushImage("a", "v2", `,"annotations":{"a":"b"}`)
	fault := error(errors.New("disk I/O error"))
	f.noCommit.Store(&fault)
	f.runCases(f.reads())
	f.fails("POST", "/v2/a/blobs/uploads/?digest="+sha256Of("new"), "new")
	f.fails("PATCH", "{up}", "hel")
	f.fails("PUT", "{up}?digest="+sha256Of("x"), "x")
	f.fails("DELETE", "{up}", "")
	f.fails("DELETE", "/v2/a/blobs/"+f.d, "")
	f.fails("DELETE", "/v2/a/manifests/v1", "")
	f.fails("POST", "/v2/b/blobs/uploads/?from=a&mount="+f.d, "")
	f.exchange(exchangeCase{Name: "PUT manifest", Method: "PUT", URL: "/v2/a/manifests/v3", Body: payload, WantCode: 503,
		Header: header{"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, WantHeader: header{"Retry-After": "5"}})
	f.noCommit.Store(nil)
	f.runCases([]exchangeCase{
		{Name: "GET", Method: "GET", URL: "/v2/a/blobs/" + f.d, WantCode: 200, WantBody: "hello"},
		{Name: "PUT", Method: "PUT", URL: "{up}?digest=" + sha256Of("x"), Body: "x", WantCode: 201},
	})
}

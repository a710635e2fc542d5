package cloud

import (
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

const testKey = "content/5e/abc-1"

// servers start real stores and return the URL of a new bucket.
var servers = map[string]func(testing.TB) string{
	"s3":    testserver.S3,
	"gcs":   testserver.GCS,
	"azure": testserver.Azure,
}

// openURL opens a bucket in an object store until the test ends.
func openURL(t testing.TB, rawURL string, o bucket.Options) *Store {
	t.Helper()
	l, err := bucket.ParseURL(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), l, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestServers runs the suite on each kind of store, with and without a prefix.
func TestServers(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			buckettest.RunRemote(t, func(t testing.TB, o bucket.Options) bucket.Store {
				return openURL(t, server(t)+"&prefix=a/b/", o)
			})
		})
	}
}

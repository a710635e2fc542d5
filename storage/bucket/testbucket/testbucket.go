// Package testbucket opens buckets for the tests of storage and of the packages that use it. This
// cannot be in package buckettest: the tests of dir and cloud import buckettest, and testbucket
// imports dir and cloud.
package testbucket

import (
	"testing"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/cloud"
	"github.com/berth-registry/berth/storage/bucket/dir"
)

// Open opens the bucket of a URL until the test ends. Package internal/testserver has URLs of new
// buckets in object stores.
func Open(t testing.TB, rawURL string) bucket.Store {
	t.Helper()
	location, err := bucket.ParseURL(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	var store bucket.Store
	switch location.Kind {
	case bucket.Directory:
		store, err = dir.Open(location.Dir, bucket.Options{})
	case bucket.Memory:
		store = cloud.OpenMemory(bucket.Options{})
	default:
		store, err = cloud.Open(t.Context(), location, bucket.Options{})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

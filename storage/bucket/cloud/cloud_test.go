package cloud_test

import (
	"testing"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
	"github.com/berth-registry/berth/storage/bucket/cloud"
)

func TestStore(t *testing.T) {
	buckettest.Run(t, func(t testing.TB, o bucket.Options) bucket.Store {
		s := cloud.OpenMemory(o)
		t.Cleanup(func() { s.Close() })
		return s
	})
}

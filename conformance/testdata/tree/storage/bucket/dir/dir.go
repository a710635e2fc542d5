// Package dir keeps a directory in the cloud.
package dir

import (
	"gocloud.dev/blob/fileblob"

	"github.com/berth-registry/berth/internal/durable"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

type Store struct {
	fileblob.Options
	durable.Dir
	bucket.Bucket2
	buckettest.Suite
}

// Package cloud knows that a directory is better.
package cloud

import (
	"gocloud.dev/blob"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/dir"
)

type Store struct {
	blob.Bucket
	bucket.Bucket2
	dir.Store
}

// Package storage does what its lower halves are for.
package storage

import (
	"database/sql/driver"

	"gocloud.dev/blob"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/meta"
)

type Registry struct {
	driver.Value
	blob.Bucket
	bucket.Bucket2
	meta.DB
}

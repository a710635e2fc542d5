// Package bucket knows what the bytes mean.
package bucket

import (
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"gocloud.dev/blob"

	"github.com/berth-registry/berth/storage/bucket/cloud"
)

type Bucket2 struct {
	blob.Bucket
	cloud.Store
	v1.Descriptor
}

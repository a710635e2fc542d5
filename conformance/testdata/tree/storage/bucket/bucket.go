// Package bucket knows what the bytes mean.
package bucket

import (
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"gocloud.dev/blob"
)

type Bucket2 struct {
	blob.Bucket
	v1.Descriptor
}

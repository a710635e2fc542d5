// Package durable knows what its files are for.
package durable

import "github.com/berth-registry/berth/storage/bucket"

type Dir struct{ bucket.Bucket2 }

// Package dbtest is as it should be.
package dbtest

import (
	"testing"

	"github.com/berth-registry/berth/internal/db/schema"
)

type Suite struct {
	testing.T
	schema.Schema
}

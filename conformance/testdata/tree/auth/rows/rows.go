// Package rows looks at the rows of the registry.
package rows

import (
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/storage/meta"
)

type DB struct {
	db.DB
	meta.Tx
}

package meta

import (
	"context"

	"github.com/berth-registry/berth/internal/db/schema"
)

// Registry returns the identity of the registry, or fs.ErrNotExist in a new database.
func (d *DB) Registry(ctx context.Context) (schema.Registry, error) {
	return schema.ReadRegistry(ctx, d.db)
}

// CreateRegistry gives a new database its identity. An identity that is there stays.
func (tx *Tx) CreateRegistry(r schema.Registry) error { return schema.CreateRegistry(tx.tx, r) }

// HasBlobs reports whether any blob was ever committed.
func (d *DB) HasBlobs(ctx context.Context) (bool, error) {
	var has bool
	err := d.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM blobs)`).Scan(&has)
	return has, err
}

package schema

import (
	"context"

	"github.com/berth-registry/berth/internal/db"
)

// Registry identifies the registry that a database belongs to.
type Registry struct {
	ID          string // never changes
	Incarnation string // changes when the database is restored beside another bucket
}

// ReadRegistry returns the identity of the registry. In a new database the error is fs.ErrNotExist.
func ReadRegistry(ctx context.Context, d *db.DB) (Registry, error) {
	var r Registry
	err := d.QueryRow(ctx, `SELECT registry_id, incarnation FROM registry WHERE id = 1`).Scan(&r.ID, &r.Incarnation)
	return r, err
}

// oldestProgram is the schema version of the oldest program that may use a database with this
// schema. Earlier programs look for a column of uploads that is no longer there.
const oldestProgram = 5

// CreateRegistry gives a new database its identity. An identity that is there stays.
func CreateRegistry(tx *db.Tx, r Registry) error {
	_, err := tx.Exec(`INSERT INTO registry (id, registry_id, incarnation, oldest_program) VALUES (1, $1, $2, $3)
		ON CONFLICT (id) DO NOTHING`,
		r.ID, r.Incarnation, oldestProgram)
	return err
}

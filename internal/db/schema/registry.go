package schema

import (
	"context"

	"github.com/berth-registry/berth/internal/db"
)

// Registry is the identity of the registry that these rows belong to.
type Registry struct {
	ID          string // made once
	Incarnation string // changes when the rows were restored beside another bucket
}

// ReadRegistry returns the identity, or fs.ErrNotExist in a new database.
func ReadRegistry(ctx context.Context, d *db.DB) (Registry, error) {
	var r Registry
	err := d.QueryRow(ctx, `SELECT registry_id, incarnation FROM registry WHERE id = 1`).Scan(&r.ID, &r.Incarnation)
	return r, err
}

// oldestProgram is the schema version of the oldest program that may serve a database of this
// one's: uploads look different to those before.
const oldestProgram = 5

// CreateRegistry gives a new database its identity.
func CreateRegistry(tx *db.Tx, r Registry) error {
	_, err := tx.Exec(`INSERT INTO registry (id, registry_id, incarnation, oldest_program) VALUES (1, $1, $2, $3)`,
		r.ID, r.Incarnation, oldestProgram)
	return err
}

// Package schema is the schema of Berth's database: the tables of the registry's rows and of the
// accounts' rows in one sequence of migrations, and what is asked of the database as a whole.
package schema

import (
	"context"
	"embed"

	"github.com/berth-registry/berth/internal/db"
)

// version is the schema that this program was written for: the number of the newest migration. A
// database serves programs from its row registry.oldest_program on, so that an older program may go
// on beside one that has migrated already, or come back after it. So migrations add first, and take
// away a release later, when they raise oldest_program too.
const version = 5

//go:embed sqlite/*.sql
var files embed.FS

// Current returns the schema of this program.
func Current() db.Schema {
	return db.Schema{Files: files, Version: version, OldestProgramSQL: `SELECT COALESCE(MAX(oldest_program), 0) FROM registry`}
}

// Empty reports whether the database has no repository, not even an unlisted one, no upload and no
// account.
func Empty(ctx context.Context, d *db.DB) (bool, error) {
	var empty bool
	err := d.QueryRow(ctx, `SELECT NOT EXISTS (SELECT 1 FROM repositories) AND NOT EXISTS (SELECT 1 FROM uploads)
		AND NOT EXISTS (SELECT 1 FROM accounts)`).Scan(&empty)
	return empty, err
}

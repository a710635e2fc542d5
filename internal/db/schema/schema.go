// Package schema defines the schema of Berth's database. One sequence of migrations for each engine
// makes the tables of the registry and of the accounts. The same number means the same version in
// both. Queries about the database as a whole are here too.
package schema

import (
	"context"
	"embed"

	"github.com/berth-registry/berth/internal/db"
)

// version is the number of the newest migration, and so the schema version of this program.
//
// Programs of an older version, down to registry.oldest_program, may use the database too: beside a
// program that has already migrated it, or after a return to an older release. So a migration only
// adds. A later release removes what is no longer used, and raises oldest_program.
const version = 5

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// Current returns the schema of this program.
func Current() db.Schema {
	return db.Schema{Files: files, Version: version, OldestProgramSQL: `SELECT COALESCE(MAX(oldest_program), 0) FROM registry`}
}

// Empty reports whether the database has no account, no upload and no repository, listed or
// unlisted.
func Empty(ctx context.Context, d *db.DB) (bool, error) {
	var empty bool
	err := d.QueryRow(ctx, `SELECT NOT EXISTS (SELECT 1 FROM repositories) AND NOT EXISTS (SELECT 1 FROM uploads)
		AND NOT EXISTS (SELECT 1 FROM accounts)`).Scan(&empty)
	return empty, err
}

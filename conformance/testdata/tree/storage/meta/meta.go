// Package meta is as it should be.
package meta

import (
	"database/sql"
	_ "embed"

	_ "modernc.org/sqlite"
)

type DB struct{ sql.DB }

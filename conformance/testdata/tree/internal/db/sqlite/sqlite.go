// Package sqlite is tested where it runs.
package sqlite

import (
	"database/sql"

	_ "modernc.org/sqlite"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
)

type Engine struct {
	sql.DB
	dbtest.Suite
}

type Conn struct{ db.DB }

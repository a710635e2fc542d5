// Package meta knows an engine.
package meta

import (
	_ "embed"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

type Tx struct{ db.DB }

type DB struct{ sqlite.Engine }

// Package schema knows an engine.
package schema

import (
	"embed"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

var files embed.FS

type Schema struct {
	db.DB
	sqlite.Engine
}

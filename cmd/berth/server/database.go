package server

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/postgres"
	"github.com/berth-registry/berth/internal/db/schema"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

// OpenDatabase opens the configured database. On SQLite it always runs the missing migrations. On
// PostgreSQL, which servers of other releases may use, it runs them only if migrate is set.
func OpenDatabase(ctx context.Context, l *config.Loaded, migrate bool) (d *db.DB, err error) {
	if c := l.Database; c.Postgres() {
		d, err = postgres.Open(ctx, c.URL, schema.Current(), postgres.Options{
			MaxConns:          c.MaxConnections,
			TransactionPooler: c.Pooler == config.PoolerTransaction,
			PasswordFile:      c.PasswordFile,
			Migrate:           migrate,
			MigrateURL:        c.MigrateURL,
		})
	} else {
		d, err = sqlite.Open(ctx, c.URL, schema.Current(), sqlite.Options{})
	}
	if err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", config.MaskURL(l.Database.URL), err)
	}
	return d, nil
}

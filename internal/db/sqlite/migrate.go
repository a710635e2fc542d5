package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/berth-registry/berth/internal/db"
)

// migrationsDir is the directory in db.Schema.Files with the migrations for this engine.
const migrationsDir = "sqlite"

// migrate runs the migrations that are missing in the database of c. It returns an error if the
// database needs a newer program.
func migrate(ctx context.Context, c *conn, s db.Schema) error {
	version, err := schemaVersion(c)
	if err != nil {
		return err
	}
	if version < s.Version {
		if err := runMigrations(ctx, c, s); err != nil {
			return fmt.Errorf("migrating from version %d: %w", version, err)
		}
	}
	oldest, err := c.queryInt(s.OldestProgramSQL)
	if err != nil {
		return fmt.Errorf("reading which programs may serve: %w", err)
	}
	return s.CheckProgram(version, oldest)
}

// runMigrations runs the migrations that are missing, each in a transaction.
func runMigrations(ctx context.Context, c *conn, s db.Schema) error {
	files, err := fs.Sub(s.Files, migrationsDir)
	if err != nil {
		return err
	}
	db := sql.OpenDB(sharedConnector{c.conn})
	defer db.Close()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// schemaVersion returns the number of the newest migration that ran, or 0 in a new database.
func schemaVersion(c *conn) (int, error) {
	if has, err := c.queryInt(hasTableSQL, goose.DefaultTablename); err != nil || has == 0 {
		return 0, err
	}
	return c.queryInt(`SELECT COALESCE(MAX(version_id), 0) FROM ` + goose.DefaultTablename)
}

// queryInt runs a query that returns one number.
func (c *conn) queryInt(query string, args ...any) (n int, err error) {
	rows, err := c.query(query, args, 1)
	if err != nil {
		return 0, err
	}
	if !rows.Next() {
		return 0, fmt.Errorf("%q has no row", query)
	}
	err = rows.Scan(&n)
	return n, err
}

// sharedConnector lets database/sql, which goose needs, use an open connection. Closing the sql.DB
// leaves the connection open.
type sharedConnector struct{ conn driver.Conn }

// Connect returns the open connection.
func (l sharedConnector) Connect(context.Context) (driver.Conn, error) {
	return sharedConn{l.conn}, nil
}

// Driver returns nil. Only sql.DB.Driver would call it.
func (l sharedConnector) Driver() driver.Driver { return nil }

type sharedConn struct{ driver.Conn }

// Close does nothing: the owner closes the connection.
func (sharedConn) Close() error { return nil }

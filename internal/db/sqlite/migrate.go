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

// filesDir is where the migrations of this engine are among the files of a schema.
const migrationsDir = "sqlite"

// migrate brings the database of c up to date, unless it is, and then refuses it
// if it is for newer programs only.
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
	program, err := c.queryInt(s.OldestProgramSQL)
	if err != nil {
		return fmt.Errorf("reading which programs may serve: %w", err)
	}
	if program > s.Version {
		return fmt.Errorf("this database has schema version %d and needs a program for version %d or later, this one is for version %d: use a newer release of berth",
			max(version, program), program, s.Version)
	}
	return nil
}

// up runs the migrations that are missing, each in a transaction.
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

// schemaVersion is the number of the newest migration that ran, 0 in a new database.
func schemaVersion(c *conn) (int, error) {
	if has, err := c.queryInt(hasTableSQL, goose.DefaultTablename); err != nil || has == 0 {
		return 0, err
	}
	return c.queryInt(`SELECT COALESCE(MAX(version_id), 0) FROM ` + goose.DefaultTablename)
}

// number returns the one number that a query is for.
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

// lender is a connector whose only connection is lent from elsewhere: closing it does nothing.
type sharedConnector struct{ conn driver.Conn }

// Connect lends the connection.
func (l sharedConnector) Connect(context.Context) (driver.Conn, error) {
	return sharedConn{l.conn}, nil
}

// Driver is there for the interface; nothing opens by it.
func (l sharedConnector) Driver() driver.Driver { return nil }

type sharedConn struct{ driver.Conn }

// Close leaves the connection to its owner.
func (sharedConn) Close() error { return nil }

package meta

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// SchemaVersion is the schema that this program was written for: the number of
// the newest migration. A database serves programs from its row
// registry.oldest_program on, so that an older program may go on beside one
// that has migrated already, or come back after it: migrations add first, and
// take away a release later, raising oldest_program with it.
const SchemaVersion = 5

//go:embed migrations/sqlite/*.sql
var sqliteFiles embed.FS

// migrations bring a schema up to date.
type migrations struct {
	files   fs.FS
	program int // the schema version of the program
}

// embedded are the migrations of this program.
func embedded() (migrations, error) {
	files, err := fs.Sub(sqliteFiles, "migrations/sqlite")
	return migrations{files: files, program: SchemaVersion}, err
}

// run migrates the database of c, unless it is up to date, and then refuses it
// if it is for newer programs only.
func (m migrations) run(ctx context.Context, c *conn) error {
	version, err := schemaVersion(c)
	if err != nil {
		return err
	}
	if version < m.program {
		if err := m.up(ctx, c); err != nil {
			return fmt.Errorf("migrating from version %d: %w", version, err)
		}
	}
	oldest, err := c.query(`SELECT COALESCE(MAX(oldest_program), 0) FROM registry`, nil, 1)
	if err != nil {
		return fmt.Errorf("reading which programs may serve: %w", err)
	}
	var program int
	if err := firstRow(oldest, nil).Scan(&program); err != nil {
		return fmt.Errorf("reading which programs may serve: %w", err)
	}
	if program > m.program {
		return fmt.Errorf("this database has schema version %d and needs a program for version %d or later, this one is for version %d: use a newer release of berth",
			max(version, program), program, m.program)
	}
	return nil
}

// up runs the migrations that are missing, each in a transaction.
func (m migrations) up(ctx context.Context, c *conn) error {
	db := sql.OpenDB(lender{c.conn})
	defer db.Close()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, m.files)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// schemaVersion is the number of the newest migration that ran, 0 in a new database.
func schemaVersion(c *conn) (version int, err error) {
	tables, err := c.query(hasTableSQL, []any{goose.DefaultTablename}, 1)
	if err != nil {
		return 0, err
	}
	var has bool
	if err := firstRow(tables, nil).Scan(&has); err != nil || !has {
		return 0, err
	}
	newest, err := c.query(`SELECT COALESCE(MAX(version_id), 0) FROM `+goose.DefaultTablename, nil, 1)
	if err != nil {
		return 0, err
	}
	err = firstRow(newest, nil).Scan(&version)
	return version, err
}

// lender is a connector whose only connection is lent from elsewhere: closing it does nothing.
type lender struct{ conn driver.Conn }

// Connect lends the connection.
func (l lender) Connect(context.Context) (driver.Conn, error) { return lent{l.conn}, nil }

// Driver is there for the interface; nothing opens by it.
func (l lender) Driver() driver.Driver { return nil }

type lent struct{ driver.Conn }

// Close leaves the connection to its owner.
func (lent) Close() error { return nil }

package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/berth-registry/berth/internal/db"
)

const (
	// migrationsDir is the directory in db.Schema.Files with the migrations for this engine.
	migrationsDir = "postgres"
	// migrationLock is the number of the advisory lock under which migrations run: "berth".
	migrationLock = 0x6265727468
	// migrationPoll is how often a program that waits for the lock looks again. It does not wait in
	// the server: CREATE INDEX CONCURRENTLY would wait for that statement.
	migrationPoll = 100 * time.Millisecond
)

// migrate runs the migrations that are missing in the database of c, if o allows it. It returns an
// error if the database needs a newer program, or a migration.
func migrate(ctx context.Context, c *conn, d *dialer, s db.Schema, o Options) error {
	version, err := c.schemaVersion()
	if err != nil {
		return err
	}
	if version < s.Version {
		if err := checkMayMigrate(version, s.Version, o); err != nil {
			return err
		}
		if err := runMigrations(ctx, d, s, o); err != nil {
			return fmt.Errorf("migrating from version %d: %w", version, err)
		}
	}
	oldest, err := c.queryInt(s.OldestProgramSQL)
	if err != nil {
		return fmt.Errorf("reading which programs may serve: %w", err)
	}
	return s.CheckProgram(version, oldest)
}

// checkMayMigrate returns an error if migrations are missing and this program may not run them.
func checkMayMigrate(version, want int, o Options) error {
	switch {
	case !o.Migrate && version == 0:
		return errors.New("the database has no tables of a registry: the first start of berth serve makes them")
	case !o.Migrate:
		return fmt.Errorf(
			"the database has schema version %d, this program needs version %d: "+
				"berth serve of this release migrates it",
			version, want)
	case o.TransactionPooler && o.MigrateURL == "":
		return fmt.Errorf(
			"the database has schema version %d, this program needs version %d, and a migration cannot go "+
				"through a transaction pooler: "+
				"set database.migrate_url to a URL of the server itself", version, want)
	}
	return nil
}

// runMigrations runs the migrations that are missing, each in a transaction, under an advisory
// lock.
func runMigrations(ctx context.Context, d *dialer, s db.Schema, o Options) error {
	files, err := fs.Sub(s.Files, migrationsDir)
	if err != nil {
		return err
	}
	config, err := migrationConfig(d, o)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(sessionLock{}))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// migrationConfig returns the configuration of the connection for migrations. Its statements may
// take long, but may not wait long for a lock, because others would wait behind them.
func migrationConfig(d *dialer, o Options) (*pgx.ConnConfig, error) {
	url := o.MigrateURL
	if url == "" {
		url = d.url
	}
	config, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("the URL for migrations: %w", err)
	}
	set(&config.Config, settings)
	set(&config.Config, connectionSettings)
	set(&config.Config, [][2]string{{"application_name", "berth"}, {"statement_timeout", "0"}})
	return config, setPassword(&config.Config, o.PasswordFile)
}

// sessionLock implements goose's lock.SessionLocker.
type sessionLock struct{}

// SessionLock waits for the advisory lock.
func (sessionLock) SessionLock(ctx context.Context, c *sql.Conn) error {
	for {
		var locked bool
		err := c.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, migrationLock).Scan(&locked)
		if err != nil || locked {
			return err
		}
		if err := sleep(ctx, migrationPoll); err != nil {
			return err
		}
	}
}

// SessionUnlock releases the lock.
func (sessionLock) SessionUnlock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, migrationLock)
	return err
}

// schemaVersion returns the number of the newest migration that ran, or 0 in a new database.
func (c *conn) schemaVersion() (int, error) {
	has, err := c.queryInt(`SELECT to_regclass($1) IS NOT NULL`, goose.DefaultTablename)
	if err != nil || has == 0 {
		return 0, err
	}
	return c.queryInt(`SELECT COALESCE(MAX(version_id), 0) FROM ` + goose.DefaultTablename)
}

// queryInt runs a query that returns one number.
func (c *conn) queryInt(query string, args ...any) (n int, err error) {
	rows, err := c.queryAlone(query, args, 1)
	if err != nil {
		return 0, err
	}
	if !rows.Next() {
		return 0, fmt.Errorf("%q has no row", query)
	}
	err = rows.Scan(&n)
	return n, err
}

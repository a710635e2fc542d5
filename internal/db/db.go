// Package db is the SQL database below the rows of Berth. It knows no table and no engine's SQL.
//
// A reader sees the last commit and does not wait for writers. A write transaction (DB.Tx) is
// serializable: it sees all that was committed before it, and when Tx returns nil it survives the
// loss of power.
//
// Statements are literal SQL with the placeholders $1, $2, …, written once for all engines. An
// engine prepares a statement once per connection and keeps it by its text, so the number of texts
// must be bounded: what varies is an argument. Where engines differ in how many values travel as
// one argument, DB.Each writes the SQL.
//
// A missing row is reported as fs.ErrNotExist, a full disk as ErrNoSpace.
package db

import (
	"context"
	"errors"
	"io/fs"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// ErrNoSpace reports that the disk of the database is full. Nothing was changed.
	ErrNoSpace = errors.New("no space left for the database")
	// ErrUncertain reports that the connection failed during COMMIT, so that the transaction may or
	// may not have happened. A later transaction can read what this one wrote to find out.
	ErrUncertain = errors.New("the transaction may or may not have been committed")
	// ErrClosed reports that the database was closed.
	ErrClosed = errors.New("the database is closed")
)

// Engine is one kind of database, which does what DB promises. It is safe for concurrent use. The
// suite dbtest.Run tests these promises.
type Engine interface {
	// Query implements DB.Query, and returns the first n rows only, or all if n is negative.
	Query(ctx context.Context, query string, args []any, n int) (*Rows, error)

	// Scan implements DB.Scan.
	Scan(ctx context.Context, query string, args []any, each func(Row) (more bool, err error)) error

	// Tx implements DB.Tx by Run.
	Tx(ctx context.Context, fn func(tx *Tx) error) error

	// Each implements DB.Each.
	ListTable(n int, columns ...string) string

	// Exclusive implements DB.Exclusive.
	Exclusive() bool

	// Close implements DB.Close.
	Close() error
}

// Schema is the tables of a program, as an engine needs to know them when it opens a database.
type Schema struct {
	// Files has a directory for each engine, by its name, of numbered migrations.
	Files fs.FS
	// Version is the number of the program's newest migration.
	Version int
	// Oldest is a query for one number: the version of the oldest program that may serve the
	// database. An engine refuses a database that needs a newer program than this one.
	OldestProgramSQL string
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	engine     Engine
	collectors []prometheus.Collector
}

// New returns the database of an engine with the metrics that the engine has.
func New(e Engine, metrics ...prometheus.Collector) *DB {
	return &DB{engine: e, collectors: metrics}
}

// Query runs a query and reads its rows into memory, so that no connection is held afterwards:
// a query should ask for a bounded number of rows. When ctx ends while it waits for a connection,
// Query returns the error of ctx.
func (db *DB) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	return db.engine.Query(ctx, query, args, -1)
}

// QueryRow is Query for the first row of a result. Errors are those of Row.Scan.
func (db *DB) QueryRow(ctx context.Context, query string, args ...any) Row {
	return firstRow(db.engine.Query(ctx, query, args, 1))
}

// Scan runs a query and calls each with one row after the other, until there are no more or each
// returns false or an error. A row is valid only during the call. The connection is held meanwhile:
// each must not wait for anything, nor use the database. Scans wait for each other, so that however
// many there are, queries find a connection. When ctx ends while the scan waits, Scan returns the
// error of ctx.
func (db *DB) Scan(ctx context.Context, query string, args []any, each func(Row) (more bool, err error)) error {
	return db.engine.Scan(ctx, query, args, each)
}

// Tx runs fn in a write transaction. It returns nil when the transaction is durable, and otherwise
// the error of fn, all changes undone. Only after ErrUncertain are they perhaps made.
//
// fn may run more than once, and in another goroutine than that of the caller, so it must set all
// that it captured anew. It must not use the DB that it runs in. If it panics, Tx does.
//
// When ctx ends before fn was started, Tx returns its error and fn is never run; afterwards the
// end of ctx may undo the transaction, but never leaves it half done.
func (db *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error { return db.engine.Tx(ctx, fn) }

// Each returns the table of the list that is argument $n of a statement, to be read in a FROM
// clause under the name list. The argument is a slice. Without columns it is one of strings, and
// the table has one column, value. With columns it is one of structs, and the table has a column
// for each name and type that is given, as in "digest text": the field of that name (by its json
// tag). Types are text, bigint and boolean.
func (db *DB) ListTable(n int, columns ...string) string { return db.engine.ListTable(n, columns...) }

// Exclusive reports whether one process alone may have the database open for writing. Then what
// was read holds until a transaction of this process changes it, so that it may be kept by the
// versions of what it was read from.
func (db *DB) Exclusive() bool { return db.engine.Exclusive() }

// Close waits for the transactions and queries that run or wait, and closes every connection.
// Later calls return ErrClosed, but for Close, which returns nil.
func (db *DB) Close() error { return db.engine.Close() }

// Collectors returns the metrics of this database, to be registered once.
func (db *DB) Collectors() []prometheus.Collector { return db.collectors }

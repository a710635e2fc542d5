// Package db provides the SQL database that holds Berth's rows. It does not depend on any table,
// nor on the SQL of any engine.
//
// A reader sees the last commit and does not wait for writers. A write transaction (DB.Tx) sees
// everything that was committed before it. On SQLite transactions run one after the other. On
// PostgreSQL each statement sees what was committed before that statement: a transaction first
// locks what it decides by, and reads what follows from others' rows in a later statement. When Tx
// returns nil, the changes survive a power cut.
//
// Statements are literal SQL with the placeholders $1, $2, …, written once for all engines. An
// engine prepares each statement once per connection and keeps it by its text. So the number of
// texts must be bounded: everything that varies is an argument. Engines differ in how one argument
// carries a list of values, in locks, and in the clock; DB.ListTable, DB.LockClause and DB.Clock
// return the SQL for that.
//
// A missing row is reported as fs.ErrNotExist, a full disk as ErrNoSpace, and other faults of the
// disk or of the machine as ErrUnavailable.
package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// ErrNoSpace means that the disk of the database is full. Nothing was changed.
	ErrNoSpace = errors.New("no space left for the database")
	// ErrUnavailable means that a fault outside of the program, which may pass, keeps the database
	// from being used: an error of the disk, no free file descriptor, a lock of another process.
	ErrUnavailable = errors.New("storage unavailable")
	// ErrUncertain is an ErrUnavailable: the connection failed during COMMIT, so the transaction
	// may or may not be committed. A later transaction can find out by reading what this one wrote.
	ErrUncertain = fmt.Errorf("%w: the transaction may or may not have been committed", ErrUnavailable)
	// ErrInvalidText means that an argument is not UTF-8 or has a NUL, and that the engine cannot
	// hold such a text.
	ErrInvalidText = errors.New("text with a NUL or that is not UTF-8")
	// ErrClosed is an ErrUnavailable: the database was closed.
	ErrClosed = fmt.Errorf("%w: the database is closed", ErrUnavailable)
)

// Engine implements DB for one kind of database. It is safe for concurrent use. The suite
// dbtest.Run tests what DB guarantees.
type Engine interface {
	// Query implements DB.Query. It returns at most the first n rows, or all if n is negative.
	Query(ctx context.Context, query string, args []any, n int) (*Rows, error)

	// Scan implements DB.Scan.
	Scan(ctx context.Context, query string, args []any, each func(Row) (more bool, err error)) error

	// Tx implements DB.Tx with RunTx.
	Tx(ctx context.Context, fn func(tx *Tx) error) error

	// ListTable implements DB.ListTable.
	ListTable(n int, columns ...string) string

	// LockClause implements DB.LockClause.
	LockClause(clause string) string

	// Clock implements DB.Clock.
	Clock() string

	// Exclusive implements DB.Exclusive.
	Exclusive() bool

	// Close implements DB.Close.
	Close() error
}

// Schema describes the tables of a program to an engine that opens a database.
type Schema struct {
	// Files has a directory of numbered migrations for each engine, under the engine's name.
	Files fs.FS
	// Version is the number of the program's newest migration.
	Version int
	// OldestProgramSQL is a query that returns one number: the Version of the oldest program that
	// may use the database. An engine refuses a database if that is higher than Version.
	OldestProgramSQL string
}

// CheckProgram returns an error if a database with a schema version needs a program for a later
// version than this one is for. oldest is the result of OldestProgramSQL.
func (s Schema) CheckProgram(version, oldest int) error {
	if oldest <= s.Version {
		return nil
	}
	return fmt.Errorf("this database has schema version %d and needs a program for version %d or later, "+
		"this one is for version %d: use a newer release of berth",
		max(version, oldest), oldest, s.Version)
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	engine     Engine
	collectors []prometheus.Collector
}

// New returns the database of an engine. metrics are the engine's, for Collectors.
func New(e Engine, metrics ...prometheus.Collector) *DB {
	return &DB{engine: e, collectors: metrics}
}

// Query runs a query and reads its rows into memory, so that it holds no connection afterwards. The
// query should limit the number of its rows. If ctx ends while Query waits for a connection, it
// returns the error of ctx.
func (db *DB) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	return db.engine.Query(ctx, query, args, -1)
}

// QueryRow is like Query, for the first row of the result. Row.Scan returns the error.
func (db *DB) QueryRow(ctx context.Context, query string, args ...any) Row {
	return firstRow(db.engine.Query(ctx, query, args, 1))
}

// Scan runs a query and calls each for every row, until there are no more rows or each returns
// false or an error. A row is valid only during the call. The scan holds a connection: each must
// not wait for anything, and must not use the database. The number of scans that run at once is
// limited, so that queries always find a connection; other scans wait. If ctx ends while Scan
// waits, it returns the error of ctx.
func (db *DB) Scan(ctx context.Context, query string, args []any, each func(Row) (more bool, err error)) error {
	return db.engine.Scan(ctx, query, args, each)
}

// Tx runs fn in a write transaction. It returns nil when the changes are committed and durable.
// After any other result they are undone, except that after ErrUncertain they may have been
// committed. If fn returns an error, Tx returns it.
//
// fn may run more than once, so each run must set all the variables that it captured. It may run in
// a goroutine other than the caller's. It must not use the DB. If fn panics, Tx panics.
//
// If ctx ends before fn starts, fn is not run and Tx returns the error of ctx. If ctx ends later,
// the transaction may be undone, but never in part. An engine with a limited number of connections
// returns ErrUnavailable, too, if fn could not start within seconds.
func (db *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error { return db.engine.Tx(ctx, fn) }

// ListTable returns the SQL of a table for a FROM clause, named list, whose rows are the elements
// of argument $n. The argument is a slice. Without columns, it is a slice of strings and the table
// has one column, value. With columns, it is a slice of structs. Each column is a name and a type,
// as in "digest text", and holds the field with that name in its json tag. Types are text, bigint
// and boolean.
func (db *DB) ListTable(n int, columns ...string) string { return db.engine.ListTable(n, columns...) }

// LockClause returns the end of a query in a transaction that locks the rows that it reads, as in
// LockClause("FOR KEY SHARE"). It is "" for an engine that runs transactions one after the other.
//
// A query that waits for a lock returns the locked row as it is then, but reads all other rows as
// they were before. What follows from these is read by the next statement.
func (db *DB) LockClause(clause string) string { return db.engine.LockClause(clause) }

// Clock returns the SQL expression of the time by the database's clock, in microseconds since 1970.
func (db *DB) Clock() string { return db.engine.Clock() }

// Exclusive reports whether only one server at a time may use the database. If so, data that only
// servers write stays valid until a transaction of this process changes it, and may be cached.
func (db *DB) Exclusive() bool { return db.engine.Exclusive() }

// Close waits for running queries and for running and waiting transactions, and closes every
// connection. Later calls return ErrClosed, except Close, which returns nil.
func (db *DB) Close() error { return db.engine.Close() }

// Collectors returns the metrics of this database. The caller registers them once.
func (db *DB) Collectors() []prometheus.Collector { return db.collectors }

// Package rows reads and writes the rows of accounts, of their tokens, and of the keys that sign
// registry tokens. All SQL about them is in this package.
//
// A method that reads, changes or deletes one row returns fs.ErrNotExist if the row does not exist.
// A read that waits for a connection returns the error of its context when that ends.
package rows

import (
	"context"
	"encoding/json"
	"io/fs"

	"github.com/berth-registry/berth/internal/db"
)

// DB gives access to the rows in a database. It is safe for concurrent use.
type DB struct {
	db      *db.DB
	version db.Shared[struct{}, int64] // shares the queries of AuthVersion
}

// New returns the DB of a database.
func New(d *db.DB) *DB { return &DB{db: d} }

func (d *DB) queryRow(ctx context.Context, query string, args ...any) db.Row {
	return d.db.QueryRow(ctx, query, args...)
}

func (d *DB) query(ctx context.Context, query string, args ...any) (*db.Rows, error) {
	return d.db.Query(ctx, query, args...)
}

// Tx is a running write transaction: see db.Tx.
type Tx struct {
	tx *db.Tx
	db *db.DB
}

// Tx runs fn in a write transaction: see db.DB.Tx.
func (d *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	return d.db.Tx(ctx, func(tx *db.Tx) error { return fn(&Tx{tx, d.db}) })
}

func (tx *Tx) exec(query string, args ...any) (int64, error) { return tx.tx.Exec(query, args...) }

func (tx *Tx) queryRow(query string, args ...any) db.Row { return tx.tx.QueryRow(query, args...) }

func (tx *Tx) query(query string, args ...any) (*db.Rows, error) { return tx.tx.Query(query, args...) }

// AuthVersion returns a number that grows with each change of accounts, tokens and signing keys by
// any process. Data that was read after AuthVersion had returned a number is valid as long as it
// returns that number. Each request calls it: where a query goes to another machine, calls at the
// same time share one that begins after them.
func (d *DB) AuthVersion(ctx context.Context) (int64, error) {
	if d.db.Exclusive() {
		return d.readAuthVersion(ctx)
	}
	return d.version.Do(ctx, struct{}{}, d.readAuthVersion)
}

func (d *DB) readAuthVersion(ctx context.Context) (int64, error) {
	var version int64
	err := d.queryRow(ctx, `SELECT version FROM auth WHERE id = 1`).Scan(&version)
	return version, err
}

// lockAuth makes transactions that decide by several rows run one after the other: by the keys, or
// by the names of accounts.
func (tx *Tx) lockAuth() error {
	clause := tx.db.LockClause("FOR NO KEY UPDATE")
	if clause == "" {
		return nil
	}
	_, err := tx.exec(`SELECT 1 FROM auth WHERE id = 1` + clause)
	return err
}

// raiseAuthVersion raises the AuthVersion in the transaction.
func (tx *Tx) raiseAuthVersion() error {
	_, err := tx.exec(`UPDATE auth SET version = version + 1 WHERE id = 1`)
	return err
}

// finishChange takes the result of a statement that changes one row. It returns fs.ErrNotExist if
// the statement changed none, and otherwise raises the AuthVersion.
func (tx *Tx) finishChange(n int64, err error) error {
	if err != nil {
		return err
	}
	if n == 0 {
		return fs.ErrNotExist
	}
	return tx.raiseAuthVersion()
}

// scanner is a row: a db.Row, or the current row of a db.Rows.
type scanner interface{ Scan(dest ...any) error }

// scanAll reads all rows of a result with scan. It returns err if that is not nil.
func scanAll[T any](r *db.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	var all []T
	for r.Next() {
		one, err := scan(r)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// encodeList returns a list as the JSON array of a column.
func encodeList(list []string) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	text, err := json.Marshal(list)
	return string(text), err
}

// decodeList is the inverse of encodeList. It returns nil for an empty list.
func decodeList(text string) ([]string, error) {
	if text == "[]" {
		return nil, nil
	}
	var list []string
	err := json.Unmarshal([]byte(text), &list)
	return list, err
}

// Package rows keeps the rows of accounts, their tokens, and the keys that sign Berth's own tokens.
// Its SQL stands here alone: the database that it holds is not given out.
//
// What is not there is reported as fs.ErrNotExist. Every read takes a context, and ends with it
// while it waits for a connection.
package rows

import (
	"context"
	"encoding/json"
	"io/fs"

	"github.com/berth-registry/berth/internal/db"
)

// DB is the rows of accounts, tokens and keys. It is safe for concurrent use.
type DB struct{ db *db.DB }

// New returns the rows in a database.
func New(d *db.DB) *DB { return &DB{d} }

func (d *DB) queryRow(ctx context.Context, query string, args ...any) db.Row {
	return d.db.QueryRow(ctx, query, args...)
}

func (d *DB) query(ctx context.Context, query string, args ...any) (*db.Rows, error) {
	return d.db.Query(ctx, query, args...)
}

// Tx is a running write transaction: see db.Tx.
type Tx struct{ tx *db.Tx }

// Tx runs fn in a write transaction: see db.DB.
func (d *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	return d.db.Tx(ctx, func(tx *db.Tx) error { return fn(&Tx{tx}) })
}

func (tx *Tx) exec(query string, args ...any) (int64, error) { return tx.tx.Exec(query, args...) }

func (tx *Tx) queryRow(query string, args ...any) db.Row { return tx.tx.QueryRow(query, args...) }

func (tx *Tx) query(query string, args ...any) (*db.Rows, error) { return tx.tx.Query(query, args...) }

// AuthVersion returns a number that changes with each change of accounts, tokens and
// signing keys, also by other processes. What was read after it returned a number
// holds for as long as it returns the same.
func (d *DB) AuthVersion(ctx context.Context) (int64, error) {
	var version int64
	err := d.queryRow(ctx, `SELECT version FROM auth WHERE id = 1`).Scan(&version)
	return version, err
}

// changeAuth lets the AuthVersion change with the commit.
func (tx *Tx) raiseAuthVersion() error {
	_, err := tx.exec(`UPDATE auth SET version = version + 1 WHERE id = 1`)
	return err
}

// changeOne ends a change of n rows, of which there should be one.
func (tx *Tx) finishChange(n int64, err error) error {
	if err != nil {
		return err
	}
	if n == 0 {
		return fs.ErrNotExist
	}
	return tx.raiseAuthVersion()
}

// scanner is one row of a result.
type scanner interface{ Scan(dest ...any) error }

// scanAll scans each row of a result.
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

// encodeList makes a column's JSON array of a list.
func encodeList(list []string) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	text, err := json.Marshal(list)
	return string(text), err
}

// decodeList reads what encodeList made. An empty list is nil.
func decodeList(text string) ([]string, error) {
	if text == "[]" {
		return nil, nil
	}
	var list []string
	err := json.Unmarshal([]byte(text), &list)
	return list, err
}

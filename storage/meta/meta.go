// Package meta keeps the rows of the registry: everything that is true about its bytes. Its SQL
// stands here alone: the database that it holds is not given out.
//
// What is not there is reported as fs.ErrNotExist. Every read takes a context, and ends with it
// while it waits for a connection.
package meta

import (
	"context"

	"github.com/berth-registry/berth/internal/db"
)

// DB is the rows of a registry. It is safe for concurrent use.
type DB struct {
	db       *db.DB
	versions *versions
}

// New returns the rows of a registry in a database. A process makes one for each database: Version
// knows of the changes by this one only.
func New(d *db.DB) *DB { return &DB{db: d, versions: newVersions()} }

// Exclusive reports whether Version may be relied on: see db.DB.
func (d *DB) Exclusive() bool { return d.db.Exclusive() }

func (d *DB) queryRow(ctx context.Context, query string, args ...any) db.Row {
	return d.db.QueryRow(ctx, query, args...)
}

func (d *DB) query(ctx context.Context, query string, args ...any) (*db.Rows, error) {
	return d.db.Query(ctx, query, args...)
}

// Tx is a running write transaction: see db.Tx.
type Tx struct {
	tx      *db.Tx
	db      *db.DB
	changed []string // names of repositories, see markChanged
}

// Tx runs fn in a write transaction: see db.DB. Versions of the repositories that fn changes grow
// before Tx returns.
func (d *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	return d.db.Tx(ctx, func(plain *db.Tx) error {
		tx := &Tx{tx: plain, db: d.db}
		plain.OnCommit(func() { d.versions.change(tx.changed) })
		return fn(tx)
	})
}

// markChanged makes the version of a repository, or of every one, grow when the transaction
// commits.
func (tx *Tx) markChanged(repo string) {
	if n := len(tx.changed); n == 0 || tx.changed[n-1] != repo { // most change one, by several statements
		tx.changed = append(tx.changed, repo)
	}
}

func (tx *Tx) exec(query string, args ...any) (int64, error) { return tx.tx.Exec(query, args...) }

func (tx *Tx) queryRow(query string, args ...any) db.Row { return tx.tx.QueryRow(query, args...) }

func (tx *Tx) query(query string, args ...any) (*db.Rows, error) { return tx.tx.Query(query, args...) }

// each is db.DB.Each.
func (tx *Tx) each(n int, columns ...string) string { return tx.db.ListTable(n, columns...) }

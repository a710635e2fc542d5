// Package meta keeps the rows of the registry: repositories with their contents, manifests and
// tags, blobs, upload sessions, and the objects of the bucket. All SQL on these tables is here: the
// database is not exported.
//
// A missing row is reported as fs.ErrNotExist. Every read of DB takes a context: when it ends while
// the read waits for a connection, the read returns the error of the context. A method of Tx or
// Repo runs in its transaction. Times are microseconds since 1970, in UTC.
package meta

import (
	"context"

	"github.com/berth-registry/berth/internal/db"
)

// DB gives access to the rows of a registry. It is safe for concurrent use.
type DB struct {
	db       *db.DB
	versions *versions
}

// New returns the rows of a registry in a database. A process makes one DB for each database:
// Version counts only the changes that are made through its own DB.
func New(d *db.DB) *DB { return &DB{db: d, versions: newVersions()} }

// Exclusive reports whether Version counts all changes, because no other process makes any: see
// db.DB.Exclusive.
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
	changed []string // the arguments of markChanged
}

// Tx runs fn in a write transaction: see db.DB.Tx. The versions of the repositories that fn changes
// grow before Tx returns.
func (d *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	return d.db.Tx(ctx, func(plain *db.Tx) error {
		tx := &Tx{tx: plain, db: d.db}
		plain.OnCommit(func() { d.versions.change(tx.changed) })
		return fn(tx)
	})
}

// markChanged makes the version of a repository, or with everyRepository those of all, grow when
// the transaction commits.
func (tx *Tx) markChanged(repo string) {
	if n := len(tx.changed); n == 0 || tx.changed[n-1] != repo { // several statements often change the same one
		tx.changed = append(tx.changed, repo)
	}
}

func (tx *Tx) exec(query string, args ...any) (int64, error) { return tx.tx.Exec(query, args...) }

func (tx *Tx) queryRow(query string, args ...any) db.Row { return tx.tx.QueryRow(query, args...) }

func (tx *Tx) query(query string, args ...any) (*db.Rows, error) { return tx.tx.Query(query, args...) }

// each is db.DB.ListTable.
func (tx *Tx) each(n int, columns ...string) string { return tx.db.ListTable(n, columns...) }

// Clauses for tx.lock. What decides by the rows of a repository locks the repository's row first:
// these transactions run one after the other. Uploads, commits of blobs and mounts do not wait for
// them. Blobs and upload sessions are locked by their own rows. Locks are taken in this order:
// upload session, repository, blob, objects and contents, tags.
const (
	lockShared    = "FOR KEY SHARE"          // the row stays; rows may refer to it
	lockForChange = "FOR NO KEY UPDATE"      // only this transaction changes the row
	lockFree      = "FOR UPDATE SKIP LOCKED" // only rows that no other transaction has locked
)

// lock is db.DB.LockClause.
func (tx *Tx) lock(clause string) string { return tx.db.LockClause(clause) }

// Now returns the time by the database's clock, in microseconds since 1970.
func (d *DB) Now(ctx context.Context) (now int64, err error) {
	err = d.queryRow(ctx, `SELECT `+d.db.Clock()).Scan(&now)
	return now, err
}

// orNull returns the argument of a column that is NULL for 0.
func orNull(id int64) any {
	if id == 0 {
		return nil
	}
	return id
}

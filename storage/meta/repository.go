package meta

import (
	"errors"
	"io/fs"
)

// EnsureRepository returns the id of a repository, which it makes if need be.
func (tx *Tx) EnsureRepository(name string) (int64, error) {
	id, err := tx.Repository(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	err = tx.queryRow(`INSERT INTO repositories (name) VALUES ($1) RETURNING id`, name).Scan(&id)
	return id, err
}

// RepositoryID returns the id of a repository, listed or not, or fs.ErrNotExist.
func (db *DB) RepositoryID(name string) (int64, error) {
	var id int64
	err := db.queryRow(`SELECT id FROM repositories WHERE name = $1`, name).Scan(&id)
	return id, err
}

// Repository returns the id of a repository, listed or not, or fs.ErrNotExist. Its version will change with
// the commit.
func (tx *Tx) Repository(name string) (int64, error) {
	tx.Change(name)
	var id int64
	err := tx.queryRow(`SELECT id FROM repositories WHERE name = $1`, name).Scan(&id)
	return id, err
}

// Change lets the version of a repository change with the commit. Whoever changes one of which it knows the id already
// calls it; EnsureRepository and Repository do so themselves.
func (tx *Tx) Change(name string) { tx.changed = append(tx.changed, name) }

// ListRepository makes a repository one that exists for clients, from now on.
func (tx *Tx) ListRepository(id, now int64) error {
	_, err := tx.exec(`UPDATE repositories SET listed_at = $2 WHERE id = $1 AND listed_at IS NULL`, id, now)
	return err
}

// Repositories returns the names of at most n listed repositories after last, in byte order.
func (db *DB) Repositories(last string, n int) ([]string, error) {
	return scanNames(db, `SELECT name FROM repositories WHERE listed_at IS NOT NULL AND name > $1 ORDER BY name LIMIT $2`, last, n)
}

// Tags returns the names of at most n tags after last, in byte order, or
// fs.ErrNotExist when the repository is not listed.
func (db *DB) Tags(repo, last string, n int) ([]string, error) {
	var id int64
	err := db.queryRow(`SELECT id FROM repositories WHERE name = $1 AND listed_at IS NOT NULL`, repo).Scan(&id)
	if err != nil {
		return nil, err
	}
	return scanNames(db, `SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3`, id, last, n)
}

func scanNames(q querier, query string, args ...any) ([]string, error) {
	rows, err := q.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

package meta

import (
	"context"
	"errors"
	"io/fs"

	"github.com/berth-registry/berth/internal/db"
)

// Repo is a repository in a transaction. Its content, manifests and tags change by its methods
// alone, and each of these marks the change, so that what is cached by DB.Version cannot outlive
// it. To take a Repo, and to read, marks nothing. A Repo is of no use after its transaction: the id
// of a repository that went may be another's.
type Repo struct {
	tx   *Tx
	name string
	id   int64
}

// Repo returns a repository, listed or not, or fs.ErrNotExist.
func (tx *Tx) Repo(name string) (Repo, error) {
	r := Repo{tx: tx, name: name}
	err := tx.queryRow(`SELECT id FROM repositories WHERE name = $1`, name).Scan(&r.id)
	return r, err
}

// EnsureRepo returns a repository, whose row it makes if need be.
func (tx *Tx) EnsureRepo(name string) (Repo, error) {
	r, err := tx.Repo(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = tx.queryRow(`INSERT INTO repositories (name) VALUES ($1) RETURNING id`, name).Scan(&r.id)
	}
	return r, err
}

// exec runs a statement that changes the repository.
func (r Repo) exec(query string, args ...any) (int64, error) {
	r.tx.markChanged(r.name)
	return r.tx.exec(query, args...)
}

// DropUnlisted removes the repository if it was never listed and has nothing any more.
func (r Repo) DropUnlisted() error {
	_, err := r.exec(`DELETE FROM repositories WHERE id = $1 AND listed_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM repository_contents WHERE repository_id = $1)`, r.id)
	return err
}

// SetListed makes the repository one that exists for clients, from now on. The first time raises
// the version of the list.
func (r Repo) SetListed(now int64) error {
	n, err := r.exec(`UPDATE catalog SET version = version + 1
		WHERE EXISTS (SELECT 1 FROM repositories WHERE id = $1 AND listed_at IS NULL)`, r.id)
	if err != nil || n == 0 {
		return err
	}
	_, err = r.exec(`UPDATE repositories SET listed_at = $2, listed_version = (SELECT version FROM catalog)
		WHERE id = $1 AND listed_at IS NULL`, r.id, now)
	return err
}

// endOfNames is greater than the name of any repository.
const endOfNames = "~"

// Repositories returns the names of at most n listed repositories, in byte order, that are greater
// than after and less than before; "" for before is no bound.
func (d *DB) Repositories(ctx context.Context, after, before string, n int) ([]string, error) {
	if before == "" {
		before = endOfNames
	}
	return scanNames(d.query(ctx, `SELECT name FROM repositories WHERE listed_at IS NOT NULL AND name > $1 AND name < $2 ORDER BY name LIMIT $3`, after, before, n))
}

// ListVersion returns a number that grows with each repository that is listed for the first time.
func (d *DB) ListVersion(ctx context.Context) (int64, error) {
	var version int64
	err := d.queryRow(ctx, `SELECT version FROM catalog`).Scan(&version)
	return version, err
}

// Listed returns the names of at most n repositories that were listed after a version, the earliest
// first, and the version of the last of them; since where there is none.
func (d *DB) Listed(ctx context.Context, since int64, n int) (names []string, version int64, err error) {
	rows, err := d.query(ctx, `SELECT name, listed_version FROM repositories WHERE listed_version > $1 ORDER BY listed_version LIMIT $2`, since, n)
	if err != nil {
		return nil, since, err
	}
	version = since
	for rows.Next() {
		var name string
		if err := rows.Scan(&name, &version); err != nil {
			return nil, since, err
		}
		names = append(names, name)
	}
	return names, version, nil
}

// Tags returns the names of at most n tags after last, in byte order, or
// fs.ErrNotExist when the repository is not listed.
func (d *DB) Tags(ctx context.Context, repo, last string, n int) ([]string, error) {
	var id int64
	err := d.queryRow(ctx, `SELECT id FROM repositories WHERE name = $1 AND listed_at IS NOT NULL`, repo).Scan(&id)
	if err != nil {
		return nil, err
	}
	return scanNames(d.query(ctx, `SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3`, id, last, n))
}

func scanNames(rows *db.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

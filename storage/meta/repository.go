package meta

import (
	"context"
	"errors"
	"io/fs"

	"github.com/berth-registry/berth/internal/db"
)

// Repo is a repository in a transaction, which has locked its row. The contents, manifests and tags
// of one repository change through these methods alone, and through Tx.AddBlob. Each of them marks
// the repository as changed, so that no cache by DB.Version outlives a change. Getting a Repo and
// reading mark nothing. A Repo must not be used after its transaction: the id of a removed
// repository may be given to another.
type Repo struct {
	tx   *Tx
	name string
	id   int64
}

// Repo returns a repository, listed or not, or fs.ErrNotExist. It waits for other transactions that
// have a Repo of the repository, and sees what they have committed.
func (tx *Tx) Repo(name string) (Repo, error) {
	r := Repo{tx: tx, name: name}
	err := tx.queryRow(`SELECT id FROM repositories WHERE name = $1`+tx.lock(lockForChange), name).Scan(&r.id)
	return r, err
}

// EnsureRepo is like Repo, but creates the repository if it is missing.
func (tx *Tx) EnsureRepo(name string) (Repo, error) {
	r, err := tx.Repo(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if err := tx.createRepo(name); err != nil {
		return r, err
	}
	return tx.Repo(name)
}

// createRepo creates a repository, unless another transaction has just created it.
func (tx *Tx) createRepo(name string) error {
	_, err := tx.exec(`INSERT INTO repositories (name) VALUES ($1) ON CONFLICT DO NOTHING`, name)
	return err
}

// exec runs a statement that changes the repository, and marks it as changed.
func (r Repo) exec(query string, args ...any) (int64, error) {
	r.tx.markChanged(r.name)
	return r.tx.exec(query, args...)
}

// DropUnlisted removes the repository if it is not listed and has no content.
func (r Repo) DropUnlisted() error {
	_, err := r.exec(`DELETE FROM repositories WHERE id = $1 AND listed_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM repository_contents WHERE repository_id = $1)`, r.id)
	return err
}

// SetListed makes the repository a listed one. If it was not listed yet, the version of the list
// grows.
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
	return scanNames(d.query(ctx, `SELECT name FROM repositories
		WHERE listed_at IS NOT NULL AND name > $1 AND name < $2 ORDER BY name LIMIT $3`,
		storableBound(after), before, n))
}

// ListVersion returns a number that grows with each repository that is listed for the first time.
func (d *DB) ListVersion(ctx context.Context) (int64, error) {
	var version int64
	err := d.queryRow(ctx, `SELECT version FROM catalog`).Scan(&version)
	return version, err
}

// Listed returns the names of at most n repositories that were listed after the version since, the
// earliest first, and the version of the last of them, or since if there is none.
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

// Tags returns the names of at most n tags after last, in byte order, or fs.ErrNotExist if the
// repository is not listed.
func (d *DB) Tags(ctx context.Context, repo, last string, n int) ([]string, error) {
	var id int64
	err := d.queryRow(ctx, `SELECT id FROM repositories WHERE name = $1 AND listed_at IS NOT NULL`, repo).Scan(&id)
	if err != nil {
		return nil, err
	}
	return scanNames(d.query(ctx, `SELECT name FROM tags
		WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3`, id, storableBound(last), n))
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

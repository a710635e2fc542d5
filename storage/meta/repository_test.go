package meta

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

// list lists a repository, as every push of a manifest does.
func list(name string) func(*Tx) error {
	return func(tx *Tx) error {
		repo, err := tx.EnsureRepo(name)
		if err != nil {
			return err
		}
		return repo.List(1)
	}
}

// listed is what came after a version, and whether the version of the list is then that
// of the last.
func listed(t *testing.T, db *DB, since int64, want ...string) (last int64) {
	t.Helper()
	names, last, err := db.Listed(t.Context(), since, 100)
	if err != nil {
		t.Fatal(err)
	}
	version, err := db.ListVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names, want) || version != last {
		t.Errorf("after %d %v were listed, want %v; the version is %d, that of the last %d", since, names, want, version, last)
	}
	return last
}

// TestListVersion: a repository raises the version once, when it is listed and the
// transaction is committed, and others that list later have later versions.
func TestListVersion(t *testing.T) {
	url := dbtest.File(t)
	db, other := openDB(t, url), openDB(t, url)
	listed(t, other, 0)
	write(t, db, func(tx *Tx) error { _, err := tx.EnsureRepo("upload"); return err })
	write(t, db, list("b"))
	write(t, db, list("a"))
	last := listed(t, other, 0, "b", "a")
	write(t, db, list("b")) // is listed already
	listed(t, other, last)
	undone := errors.New("undone")
	err := db.Tx(context.Background(), func(tx *Tx) error { return errors.Join(list("c")(tx), undone) })
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	listed(t, other, last)
	write(t, other, list("upload"))
	write(t, db, list("c"))
	if names, middle, err := db.Listed(t.Context(), last, 1); err != nil || !slices.Equal(names, []string{"upload"}) || middle <= last {
		t.Errorf("first after %d: %v at %d, %v", last, names, middle, err)
	}
	listed(t, db, last, "upload", "c")
}

// TestListVersionMigrates: repositories of before are listed still, have versions, and
// those that come then have later ones. A new database has no row of the registry when it
// migrates.
func TestListVersionMigrates(t *testing.T) {
	url := dbtest.File(t)
	old, stop := openOld(t, url, 2)
	write(t, old, func(tx *Tx) error {
		_, err := tx.exec(`INSERT INTO repositories (name, listed_at) VALUES ('b', 1), ('upload', NULL), ('a', 2)`)
		return err
	})
	stop()
	db := openDB(t, url)
	last := listed(t, db, 0, "b", "a")
	write(t, db, list("upload"))
	write(t, db, list("c"))
	listed(t, db, last, "upload", "c")
	if names, err := db.Repositories(t.Context(), "", "", 10); err != nil || !slices.Equal(names, []string{"a", "b", "c", "upload"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
}

package meta

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

func (s *suite) testRepositories() {
	s.fill()
	s.exec(`INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (1003, 'v1', 1003, 1)`)
	get := func(name string, get func(*Tx, string) (Repo, error)) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) {
			r, err := get(tx, name)
			if r.tx != tx || r.name != name {
				err = errors.New("it is not that of the call")
			}
			return r.id, err
		}
	}
	drop := func(name string) func(*Tx) (any, error) {
		return nothingWithin(name, func(r Repo) error { return r.DropUnlisted() })
	}
	listed := func(name string) func(*Tx) (any, error) {
		return nothingWithin(name, func(r Repo) error { return r.SetListed(70) })
	}
	s.changes([]change{
		{what: "get a listed one", call: get("a", (*Tx).Repo), value: int64(1002)},
		{what: "get an unlisted one", call: get("e", (*Tx).Repo), value: int64(1004)},
		{what: "get none", call: get("none", (*Tx).Repo), err: fs.ErrNotExist},
		{what: "ensure one that is there", call: get("e", (*Tx).EnsureRepo), value: int64(1004)},
		{what: "ensure a new one", call: func(tx *Tx) (any, error) { r, err := tx.EnsureRepo("new"); return r.id > 1005, err }, value: true,
			rows: []string{"+repository new"}},

		{what: "drop", call: drop("e"), marked: "e", rows: []string{"-repository e"}},
		{what: "drop one with content", call: drop("u"), marked: "u"},
		{what: "drop a listed one", call: drop("f"), marked: "f"},

		{what: "list", call: listed("u"), marked: "u", rows: []string{"catalog list version=4", "repository u listed=70 version=4"}},
		{what: "list again", call: listed("a"), marked: "a"},
	})
}

func (s *suite) testRepositoryLists() {
	s.fill()
	s.exec(`INSERT INTO repositories (id, name, listed_at, listed_version) VALUES (999, 'a/b', 1, 9), (998, 'a-b', 1, 8), (997, 'a0', 1, 7), (996, 'a.b', 1, 6)`)
	names := func(after, before string, n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.Repositories(ctx, after, before, n) }
	}
	type list struct {
		names   []string
		version int64
	}
	since := func(version int64, n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			names, version, err := s.db.Listed(ctx, version, n)
			return list{names, version}, err
		}
	}
	none := []string(nil)
	s.reads([]read{
		{"all that are listed, in byte order", names("", "", 99), []string{"a", "a-b", "a.b", "a/b", "a0", "b", "f"}, nil},
		{"a page", names("", "", 2), []string{"a", "a-b"}, nil},
		{"the next page", names("a-b", "", 2), []string{"a.b", "a/b"}, nil},
		{"after a name that is not there", names("a1", "", 9), []string{"b", "f"}, nil},
		{"between two names, both excluded", names("a", "a0", 9), []string{"a-b", "a.b", "a/b"}, nil},
		{"after the last", names("f", "", 9), none, nil},

		{"the version", func(ctx context.Context) (any, error) { return s.db.ListVersion(ctx) }, int64(3), nil},
		{"since the beginning, the earliest first", since(0, 99), list{[]string{"a", "b", "f", "a.b", "a0", "a-b", "a/b"}, 9}, nil},
		{"two since a version", since(2, 2), list{[]string{"f", "a.b"}, 6}, nil},
		{"since the last", since(9, 2), list{nil, 9}, nil},
	})
}

func (s *suite) testTagLists() {
	s.fill()
	s.exec(`INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (1002, 'V1', 1001, 1), (1002, '_', 1001, 1), (1002, '1.0', 1001, 1), (1003, 'v1', 1001, 1)`)
	tags := func(repo, last string, n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.Tags(ctx, repo, last, n) }
	}
	none := []string(nil)
	s.reads([]read{
		{"all, in byte order", tags("a", "", 99), []string{"1.0", "V1", "_", "latest", "other", "v1"}, nil},
		{"a page", tags("a", "", 2), []string{"1.0", "V1"}, nil},
		{"the next page", tags("a", "V1", 2), []string{"_", "latest"}, nil},
		{"after a name that is not there", tags("a", "m", 9), []string{"other", "v1"}, nil},
		{"after the last", tags("a", "v1", 9), none, nil},
		{"of another repository", tags("b", "", 9), []string{"latest"}, nil},
		{"of one without tags", tags("f", "", 9), none, nil},
		{"of an unlisted one", tags("u", "", 9), nil, fs.ErrNotExist},
		{"of none", tags("none", "", 9), nil, fs.ErrNotExist},
	})
}

// list lists a repository, as every push of a manifest does.
func list(name string) func(*Tx) error {
	return func(tx *Tx) error {
		repo, err := tx.EnsureRepo(name)
		if err != nil {
			return err
		}
		return repo.SetListed(1)
	}
}

// listed tests which repositories were listed after a version, and that the last of them has the
// version of the list, which it returns.
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

// TestListVersionMigrates: repositories of an old database are still listed and get versions.
// Repositories that are listed afterwards get later ones.
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

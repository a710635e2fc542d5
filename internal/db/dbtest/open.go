// Package dbtest opens databases for the tests of other packages. It also has the test suite for
// the engines of package db.
package dbtest

import (
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/postgres"
	"github.com/berth-registry/berth/internal/db/schema"
	"github.com/berth-registry/berth/internal/db/sqlite"
	"github.com/berth-registry/berth/internal/testserver"
)

// Memory is the URL of a new database in memory.
const Memory = "sqlite::memory:"

// File returns the URL of a new database in a temporary directory. Open creates the file.
func File(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "berth.db") }

// Postgres returns the URL of a new database with the current schema on a PostgreSQL server that
// the tests of this process share. The database is dropped when the test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	return testserver.PostgresCopy(t, func(url string) {
		d, err := postgres.Open(t.Context(), url, schema.Current(), postgres.Options{Migrate: true})
		if err == nil {
			err = d.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// Open opens a database with the current schema and closes it when the test ends.
func Open(t testing.TB, url string) *db.DB {
	t.Helper()
	return OpenFaulty(t, url, nil)
}

// OpenFaulty is like Open, with faults in commits: see sqlite.Options.Fault.
func OpenFaulty(t testing.TB, url string, fault func(step string) error) *db.DB {
	t.Helper()
	var d *db.DB
	var err error
	if postgres.IsURL(url) {
		d, err = postgres.Open(t.Context(), url, schema.Current(), postgres.Options{Migrate: true, Fault: fault})
	} else {
		d, err = sqlite.Open(t.Context(), url, schema.Current(), sqlite.Options{Fault: fault})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the database: %v", err)
		}
	})
	return d
}

// OldSchema returns the schema of an older program: its migrations end with version.
func OldSchema(t testing.TB, version int) db.Schema {
	t.Helper()
	s := schema.Current()
	old := fstest.MapFS{}
	err := fs.WalkDir(s.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		number, err := strconv.Atoi(path.Base(name)[:5])
		if err != nil || number > version {
			return err
		}
		text, err := fs.ReadFile(s.Files, name)
		old[name] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Files, s.Version = old, version
	return s
}

// Package dbtest opens databases for the tests of other packages, and has the suite that every
// engine of package db passes.
package dbtest

import (
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/schema"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

// Memory is the URL of a new database in memory.
const Memory = "sqlite::memory:"

// File returns the URL of a database in a temporary directory, which Open makes.
func File(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "berth.db") }

// Open opens a database with the program's schema and closes it when the test ends.
func Open(t testing.TB, url string) *db.DB {
	t.Helper()
	return OpenFaulty(t, url, nil)
}

// OpenFaulty is Open for a database whose commits fault may fail: see sqlite.Options.
func OpenFaulty(t testing.TB, url string, fault func(step string) error) *db.DB {
	t.Helper()
	d, err := sqlite.Open(t.Context(), url, schema.Current(), sqlite.Options{Fault: fault})
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

// OldSchema returns the schema of a program that has the first migrations alone, up to a version.
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

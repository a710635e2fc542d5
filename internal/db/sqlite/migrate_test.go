package sqlite

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/db"
)

// reopen opens a database as a program would that has only the first n migrations, and closes it.
func reopen(t *testing.T, url string, n int) error {
	t.Helper()
	d, err := open(context.Background(), url, schemaUpTo(n), Options{})
	if err != nil {
		return err
	}
	return d.Close()
}

func TestMigrateForward(t *testing.T) {
	url := fileURL(t)
	for _, n := range []int{1, 1, 2, 3, 3} {
		if err := reopen(t, url, n); err != nil {
			t.Fatalf("program %d: %v", n, err)
		}
	}
	d := openTest(t, fileURL(t), Options{})
	if version, err := schemaVersion(d.writer); version != 1 || err != nil {
		t.Errorf("version %d, %v", version, err)
	}
}

// TestNewerDatabase checks that the database decides which older programs may use it.
func TestNewerDatabase(t *testing.T) {
	url := fileURL(t)
	if err := reopen(t, url, 3); err != nil {
		t.Fatal(err)
	}
	if err := reopen(t, url, 2); err != nil {
		t.Errorf("program 2 with schema 3, which asks for 2: %v", err)
	}
	err := reopen(t, url, 1)
	if err == nil || !strings.Contains(err.Error(), "schema version 3 and needs a program for version 2 or later, this one is for version 1") {
		t.Errorf("program 1: %v", err)
	}
	// The refused program has changed nothing.
	if err := reopen(t, url, 3); err != nil {
		t.Error(err)
	}
}

// TestMigrationFails checks that a migration that fails changes nothing.
func TestMigrationFails(t *testing.T) {
	url := fileURL(t)
	if err := reopen(t, url, 1); err != nil {
		t.Fatal(err)
	}
	testSchema := schemaUpTo(2)
	files := map[string]string{"00002_second.sql": "-- +goose Up\nCREATE TABLE half (id INTEGER);\nCREATE TABLE items (id INTEGER);"}
	broken := overlay(testSchema, files)
	if d, err := open(context.Background(), url, broken, Options{}); err == nil {
		d.Close()
		t.Fatal("a broken migration passed")
	}
	d := openTest(t, url, Options{})
	var half bool
	if err := d.queryRow(hasTableSQL, "half").Scan(&half); err != nil || half {
		t.Errorf("half a migration is there: %v, %v", half, err)
	}
	mustInsert(t, d, "a")
}

// overlay replaces files of a schema.
func overlay(s db.Schema, files map[string]string) db.Schema {
	all := fstest.MapFS{}
	for name, file := range s.Files.(fstest.MapFS) {
		all[name] = file
	}
	for name, text := range files {
		all[migrationsDir+"/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	s.Files = all
	return s
}

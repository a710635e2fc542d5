package meta

import (
	"context"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pressly/goose/v3"
)

// reopen opens a database with the program of the first n migrations and closes it again.
func reopen(t *testing.T, url string, n int) error {
	t.Helper()
	db, err := open(context.Background(), url, Options{}, schemaUpTo(n))
	if err != nil {
		return err
	}
	return db.Close()
}

func TestMigrateForward(t *testing.T) {
	url := fileURL(t)
	for _, n := range []int{1, 1, 2, 3, 3} {
		if err := reopen(t, url, n); err != nil {
			t.Fatalf("program %d: %v", n, err)
		}
	}
	db := openTest(t, fileURL(t), Options{})
	if version, err := schemaVersion(db.writer); version != 1 || err != nil {
		t.Errorf("version %d, %v", version, err)
	}
}

// An older program may serve a newer schema just as far as the schema says.
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
	// A refusal changes nothing.
	if err := reopen(t, url, 3); err != nil {
		t.Error(err)
	}
}

// A migration that fails leaves the database as it was.
func TestMigrationFails(t *testing.T) {
	url := fileURL(t)
	if err := reopen(t, url, 1); err != nil {
		t.Fatal(err)
	}
	testSchema := schemaUpTo(2)
	files := map[string]string{"00002_second.sql": "-- +goose Up\nCREATE TABLE half (id INTEGER);\nCREATE TABLE items (id INTEGER);"}
	broken := migrations{files: overlay(testSchema, files), program: 2}
	if db, err := open(context.Background(), url, Options{}, broken); err == nil {
		db.Close()
		t.Fatal("a broken migration passed")
	}
	db := openTest(t, url, Options{})
	var half bool
	if err := db.queryRow(hasTableSQL, "half").Scan(&half); err != nil || half {
		t.Errorf("half a migration is there: %v, %v", half, err)
	}
	mustInsert(t, db, "a")
}

func TestSchemaVersionIsNewestMigration(t *testing.T) {
	db, err := Open(context.Background(), "sqlite::memory:", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c, err := db.readers.get()
	if err != nil {
		t.Fatal(err)
	}
	defer db.readers.put(c)
	if version, err := schemaVersion(c); version != SchemaVersion || err != nil {
		t.Errorf("the newest migration is %d (%v), SchemaVersion %d", version, err, SchemaVersion)
	}
}

// overlay replaces files of a schema.
func overlay(m migrations, files map[string]string) fstest.MapFS {
	all := fstest.MapFS{}
	for name, file := range m.files.(fstest.MapFS) {
		all[name] = file
	}
	for name, text := range files {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

// filesUpTo are the migrations of the program until version n.
func filesUpTo(t *testing.T, n int) migrations {
	t.Helper()
	all, err := embedded()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(all.files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	some := fstest.MapFS{}
	for _, name := range names {
		if version, err := goose.NumericComponent(name); err != nil {
			t.Fatal(err)
		} else if version > int64(n) {
			continue
		}
		text, err := fs.ReadFile(all.files, name)
		if err != nil {
			t.Fatal(err)
		}
		some[name] = &fstest.MapFile{Data: text}
	}
	return migrations{files: some, program: n}
}

// Uploads that are under way when the program is replaced go on, with all their objects.
// Repositories that have nothing go, and the program before does not come back.
func TestUploadsMigrate(t *testing.T) {
	url := fileURL(t)
	db, err := open(t.Context(), url, Options{}, filesUpTo(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		`INSERT INTO registry (id, registry_id, incarnation, oldest_program) VALUES (1, 'r', 'i', 1)`,
		`INSERT INTO repositories (id, name, listed_at) VALUES (1, 'uploading', NULL), (2, 'empty', NULL), (3, 'blob', NULL), (4, 'listed', 7)`,
		`INSERT INTO blobs (id, digest, size, checked_at, created_at) VALUES (1, 'sha256:1', 3, 5, 5)`,
		`INSERT INTO repository_contents (repository_id, digest, blob_id, size, touched_at) VALUES (3, 'sha256:1', 1, 3, 5)`,
		`INSERT INTO uploads (id, repository_id, owner, algorithm, size, hash_state, next_part, finished_digest, created_at, updated_at) VALUES
			('open', 1, 'user:u#1', 'sha512', 5, x'0102', 3, NULL, 8, 9), ('finished', 4, '', 'sha256', 3, NULL, 1, 'sha256:1', 8, 10)`,
		`INSERT INTO objects (key, upload_id, blob_id, seq, size, writer_until, delete_after) VALUES
			('a', 'open', NULL, 0, 5, NULL, NULL), ('b', 'open', NULL, 1, NULL, 99, NULL),
			('c', NULL, 1, 0, 3, NULL, NULL), ('d', NULL, NULL, 0, NULL, NULL, 7)`,
	} {
		write(t, db, func(tx *Tx) error { _, err := tx.exec(query); return err })
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	if db, err = open(t.Context(), url, Options{}, filesUpTo(t, 5)); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	up, err := db.Upload("uploading", "open")
	want := Upload{ID: "open", Repository: "uploading", Owner: "user:u#1", Charged: "user:u#1", Algorithm: "sha512", Size: 5, HashState: []byte{1, 2}, NextPart: 3, UpdatedAt: 9}
	if !reflect.DeepEqual(up, want) || err != nil {
		t.Errorf("the open upload is %+v, %v", up, err)
	}
	if up, err := db.Upload("listed", "finished"); up.FinishedDigest != "sha256:1" || err != nil {
		t.Errorf("the finished upload is %+v, %v", up, err)
	}
	for query, want := range map[string]string{
		`SELECT name FROM repositories ORDER BY id`:                                               "[blob listed]",
		`SELECT key || COALESCE(upload_id, '') || COALESCE(blob_id, '') FROM objects`:             "[aopen bopen c1 d]",
		`SELECT "table" FROM pragma_foreign_key_check`:                                            "[]",
		`SELECT name FROM sqlite_schema WHERE name LIKE '%\_new' ESCAPE '\' OR name LIKE '%kept'`: "[]",
	} {
		if got, err := scanNames(db, query); fmt.Sprint(got) != want || err != nil {
			t.Errorf("%s: %v, %v, want %s", query, got, err, want)
		}
	}
	// The table of objects still means that of uploads.
	write(t, db, func(tx *Tx) error { return tx.ReserveObject("e", "open", 2, 99, Claim{}) })
	if err := db.Tx(t.Context(), func(tx *Tx) error { return tx.ReserveObject("f", "none", 2, 99, Claim{}) }); !isForeignKey(err) {
		t.Errorf("an object of no upload: %v", err)
	}
	if _, err := open(t.Context(), url, Options{}, filesUpTo(t, 2)); err == nil || !strings.Contains(err.Error(), "needs a program for version 5") {
		t.Errorf("the program before: %v", err)
	}
}

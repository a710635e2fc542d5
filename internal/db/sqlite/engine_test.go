package sqlite

import (
	"context"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

// testDB is an engine with shorter methods for tests.
type testDB struct{ *engine }

func (d *testDB) queryRow(query string, args ...any) db.Row {
	return db.New(d).QueryRow(context.Background(), query, args...)
}

func (d *testDB) query(query string, args ...any) (*db.Rows, error) {
	return d.Query(context.Background(), query, args, -1)
}

// testSchema is the schema of the tests: its migrations by file name.
var testSchema = map[string]string{
	"00001_init.sql": `-- +goose Up
CREATE TABLE registry (oldest_program INTEGER NOT NULL);
INSERT INTO registry VALUES (1);
CREATE TABLE parents (id INTEGER PRIMARY KEY);
CREATE TABLE items (
	id       INTEGER PRIMARY KEY,
	name     TEXT NOT NULL UNIQUE,
	parent   INTEGER REFERENCES parents (id),
	deferred INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED,
	data     BLOB
);`,
	"00002_second.sql": `-- +goose Up
ALTER TABLE items ADD COLUMN note TEXT;
UPDATE registry SET oldest_program = 2;`,
	"00003_compatible.sql": `-- +goose Up
CREATE TABLE more (id INTEGER PRIMARY KEY);`,
}

// schemaUpTo returns the test schema of a program that has only the first n migrations.
func schemaUpTo(n int) db.Schema {
	files := fstest.MapFS{}
	for name, text := range testSchema {
		if int(name[4]-'0') <= n {
			files[migrationsDir+"/"+name] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	return db.Schema{Files: files, Version: n, OldestProgramSQL: `SELECT oldest_program FROM registry`}
}

// openTest opens a database for one test. Its batches have no time limit.
func openTest(t testing.TB, url string, o Options) *testDB {
	t.Helper()
	e, err := open(context.Background(), url, schemaUpTo(1), o)
	if err != nil {
		t.Fatal(err)
	}
	d := &testDB{e}
	d.maxBatchTime = time.Hour
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return d
}

func fileURL(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") }

// onBoth runs a test on a file and in memory.
func onFileAndMemory(t *testing.T, o Options, test func(t *testing.T, d *testDB)) {
	t.Run("file", func(t *testing.T) { test(t, openTest(t, fileURL(t), o)) })
	t.Run("memory", func(t *testing.T) { test(t, openTest(t, "sqlite::memory:", o)) })
}

func insert(tx *db.Tx, name string) error {
	_, err := tx.Exec(`INSERT INTO items (name) VALUES ($1)`, name)
	return err
}

func mustInsert(t testing.TB, d *testDB, name string) {
	t.Helper()
	if err := d.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, name) }); err != nil {
		t.Fatalf("inserting %s: %v", name, err)
	}
}

// names returns the items in the order of their insertion.
func names(t testing.TB, d *testDB) []string {
	t.Helper()
	rows, err := d.query(`SELECT name FROM items ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	return list
}

// waitFor returns when n calls wait behind the leader.
func waitFor(d *testDB, n int) {
	for {
		d.queue.mu.Lock()
		waiting := len(d.queue.waiting)
		d.queue.mu.Unlock()
		if waiting == n {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// heldTx is a transaction that runs until finish, so that other calls wait behind it.
type heldTx struct {
	release chan struct{}
	done    chan error
}

func startHeld(d *testDB, fn func(*db.Tx) error) *heldTx {
	h := &heldTx{release: make(chan struct{}), done: make(chan error, 1)}
	started := make(chan struct{})
	go func() {
		first := true
		h.done <- d.Tx(context.Background(), func(tx *db.Tx) error {
			if first {
				first = false
				close(started)
				<-h.release
			}
			return fn(tx)
		})
	}()
	<-started
	return h
}

func (h *heldTx) finish() error {
	close(h.release)
	return <-h.done
}

// startBehind starts transactions that wait behind the leader in this order.
func startBehind(d *testDB, fns ...func(*db.Tx) error) []chan error {
	results := make([]chan error, len(fns))
	for i, fn := range fns {
		result := make(chan error, 1)
		results[i] = result
		go func() { result <- d.Tx(context.Background(), fn) }()
		waitFor(d, i+1)
	}
	return results
}

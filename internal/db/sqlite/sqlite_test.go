package meta

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Durability and integrity hang on settings that SQLite keeps per connection.
func TestPragmas(t *testing.T) {
	want := map[string]any{
		"synchronous": int64(2), "foreign_keys": int64(1), "journal_mode": "wal", "busy_timeout": int64(5000),
		"temp_store": int64(2), "trusted_schema": int64(0), "query_only": int64(0),
	}
	check := func(t *testing.T, name string, c *conn) {
		for pragma, want := range want {
			var got any
			if err := firstRow(c.query("PRAGMA "+pragma, nil, 1)).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s is %v (%v), want %v", name, pragma, got, err, want)
			}
		}
	}
	db := openTest(t, fileURL(t), Options{ReadConns: 3})
	check(t, "writer", db.writer)
	want["query_only"] = int64(1)
	for range 3 {
		c, err := db.readers.get()
		if err != nil {
			t.Fatal(err)
		}
		defer db.readers.put(c)
		check(t, "reader", c)
	}

	memory := openTest(t, "sqlite::memory:", Options{})
	c, err := memory.readers.get()
	if err != nil {
		t.Fatal(err)
	}
	defer memory.readers.put(c)
	want["journal_mode"], want["query_only"] = "memory", int64(0)
	check(t, "memory", c)
}

// After an uncertain commit the writer is another connection, set up like the first.
func TestWriterIsReopened(t *testing.T) {
	c := commits{fail: map[string]error{"commit": errors.New("input/output error")}}
	db := openTest(t, fileURL(t), Options{Fault: c.fault})
	before := db.writer
	if err := db.Tx(context.Background(), func(tx *Tx) error { return insert(tx, "a") }); !errors.Is(err, ErrUncertain) {
		t.Errorf("got %v", err)
	}
	mustInsert(t, db, "b")
	if db.writer == before {
		t.Error("the connection that failed is still in use")
	}
	var synchronous, keys int
	err := db.Tx(context.Background(), func(tx *Tx) error {
		return errors.Join(
			tx.queryRow(`PRAGMA synchronous`).Scan(&synchronous),
			tx.queryRow(`PRAGMA foreign_keys`).Scan(&keys))
	})
	if err != nil || synchronous != 2 || keys != 1 {
		t.Errorf("synchronous %d, foreign_keys %d, %v", synchronous, keys, err)
	}
}

func TestReadersCannotWrite(t *testing.T) {
	db := openTest(t, fileURL(t), Options{})
	if err := db.queryRow(`INSERT INTO items (name) VALUES ('a') RETURNING id`).Scan(new(int64)); err == nil {
		t.Error("a reader wrote")
	}
}

// The database is its owner's alone, wherever its path leads.
func TestOpenMakesFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "deep er", "a?b=c&d#%41ä.db")
	db := openTest(t, "sqlite:"+path, Options{})
	mustInsert(t, db, "a")
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such permissions")
	}
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"":                         "want sqlite:",
		"sqlite:":                  "want sqlite:",
		"postgres://x":             "want sqlite:",
		"sqlite:" + file:           "not a database",
		"sqlite:" + file + "/x/db": "not a directory",
		"sqlite:" + dir:            "unable to open",
	} {
		db, err := Open(context.Background(), url, Options{})
		if err == nil {
			db.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", url, err, want)
		}
	}
}

// The real schema opens, here and again.
func TestOpen(t *testing.T) {
	url := fileURL(t)
	for range 2 {
		db, err := Open(context.Background(), url, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Registry(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		if len(db.Collectors()) == 0 {
			t.Error("no metrics")
		}
		if err := errors.Join(db.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// The log does not grow with what was written.
func TestLogIsBounded(t *testing.T) {
	db := openTest(t, fileURL(t), Options{})
	data := make([]byte, 1<<20)
	for i := range 64 {
		err := db.Tx(context.Background(), func(tx *Tx) error {
			_, err := tx.exec(`INSERT INTO items (name, data) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET data = excluded.data`,
				i%4, data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(db.path + "-wal")
	if err != nil || info.Size() > 16<<20 {
		t.Errorf("%v bytes after 64 MiB of writes, %v", info.Size(), err)
	}
}

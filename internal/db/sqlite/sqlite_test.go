package sqlite

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

// TestPragmas checks the settings of each connection, on which durability and integrity depend.
func TestPragmas(t *testing.T) {
	want := map[string]any{
		"synchronous": int64(2), "foreign_keys": int64(1), "journal_mode": "wal", "busy_timeout": int64(5000),
		"temp_store": int64(2), "trusted_schema": int64(0), "query_only": int64(0), "secure_delete": int64(2),
	}
	check := func(t *testing.T, name string, c *conn) {
		for pragma, want := range want {
			var got any
			rows, err := c.query("PRAGMA "+pragma, nil, 1)
			if err != nil || !rows.Next() {
				t.Fatalf("%s: %s: %v", name, pragma, err)
			}
			if err := rows.Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s is %v (%v), want %v", name, pragma, got, err, want)
			}
		}
	}
	d := openTest(t, fileURL(t), Options{ReadConns: 3})
	check(t, "writer", d.writer)
	want["query_only"] = int64(1)
	delete(want, "secure_delete") // a reader deletes nothing
	for range 3 {
		c, err := d.readers.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer d.readers.put(c)
		check(t, "reader", c)
	}

	memory := openTest(t, "sqlite::memory:", Options{})
	c, err := memory.readers.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer memory.readers.put(c)
	want["journal_mode"], want["query_only"] = "memory", int64(0)
	check(t, "memory", c)
}

// TestWriterIsReopened checks that after an uncertain commit the writer is a new connection with
// the same settings.
func TestWriterIsReopened(t *testing.T) {
	c := commits{fail: map[string]error{"commit": errors.New("input/output error")}}
	d := openTest(t, fileURL(t), Options{Fault: c.fault})
	before := d.writer
	if err := d.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, "a") }); !errors.Is(err, db.ErrUncertain) {
		t.Errorf("got %v", err)
	}
	mustInsert(t, d, "b")
	if d.writer == before {
		t.Error("the connection that failed is still in use")
	}
	var synchronous, keys int
	err := d.Tx(context.Background(), func(tx *db.Tx) error {
		return errors.Join(
			tx.QueryRow(`PRAGMA synchronous`).Scan(&synchronous),
			tx.QueryRow(`PRAGMA foreign_keys`).Scan(&keys))
	})
	if err != nil || synchronous != 2 || keys != 1 {
		t.Errorf("synchronous %d, foreign_keys %d, %v", synchronous, keys, err)
	}
}

func TestReadersCannotWrite(t *testing.T) {
	d := openTest(t, fileURL(t), Options{})
	if err := d.queryRow(`INSERT INTO items (name) VALUES ('a') RETURNING id`).Scan(new(int64)); err == nil {
		t.Error("a reader wrote")
	}
}

// TestOpenMakesFiles checks that only the owner can access the files of a database, and that a path
// may contain any characters.
func TestOpenMakesFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "deep er", "a?b=c&d#%41ä.db")
	d := openTest(t, "sqlite:"+path, Options{})
	mustInsert(t, d, "a")
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
		d, err := Open(context.Background(), url, schemaUpTo(1), Options{})
		if err == nil {
			d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", url, err, want)
		}
	}
}

// TestOpen opens a new database, and the same one again.
func TestOpen(t *testing.T) {
	url := fileURL(t)
	for range 2 {
		d, err := Open(context.Background(), url, schemaUpTo(1), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Collectors()) == 0 {
			t.Error("no metrics")
		}
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestLogIsBounded checks that the write-ahead log does not grow with the number of writes.
func TestLogIsBounded(t *testing.T) {
	url := fileURL(t)
	d := openTest(t, url, Options{})
	data := make([]byte, 1<<20)
	for i := range 64 {
		err := d.Tx(context.Background(), func(tx *db.Tx) error {
			_, err := tx.Exec(`INSERT INTO items (name, data) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET data = excluded.data`,
				i%4, data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(strings.TrimPrefix(url, "sqlite:") + "-wal")
	if err != nil || info.Size() > 16<<20 {
		t.Errorf("%v bytes after 64 MiB of writes, %v", info.Size(), err)
	}
}

// TestParseURLRefuses: no host of a URL is ignored.
func TestParseURLRefuses(t *testing.T) {
	for _, url := range []string{"", "sqlite:", "postgres://db/berth", "sqlite://relative/berth.db"} {
		if path, err := ParseURL(url); err == nil {
			t.Errorf("%q is %q", url, path)
		}
	}
	if path, err := ParseURL("sqlite:///x/berth.db"); err != nil || filepath.ToSlash(path) != "/x/berth.db" {
		t.Errorf("%q, %v", path, err)
	}
}

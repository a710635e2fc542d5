package meta

import (
	"context"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

// openDB opens a database. A second DB of one file is like that of another process.
func openDB(t *testing.T, url string) *DB { return New(dbtest.Open(t, url)) }

// openOld opens a database as the program of an older schema does.
func openOld(t *testing.T, url string, version int) (old *DB, stop func()) {
	t.Helper()
	d, err := sqlite.Open(t.Context(), url, dbtest.OldSchema(t, version), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		t.Helper()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return New(d), stop
}

// write runs fn in a transaction that must go well.
func write(t *testing.T, d *DB, fn func(*Tx) error) {
	t.Helper()
	if err := d.Tx(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

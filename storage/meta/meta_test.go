package meta

import (
	"context"
	"errors"
	"testing"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

// openDB opens a database, as another process would a second time.
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

// The version of a repository grows with what changes it, before Tx returns and also where it is
// not known whether the transaction was committed; that of all grows with what may be everywhere.
func TestVersion(t *testing.T) {
	cause := errors.New("input/output error")
	fail := ""
	d := New(dbtest.OpenFaulty(t, dbtest.Memory, func(step string) error {
		if step == fail {
			return cause
		}
		return nil
	}))
	take := func(tx *Tx) error { _, err := tx.EnsureRepository("a"); return err }
	undo := func(tx *Tx) error { return errors.Join(take(tx), cause) }
	for _, c := range []struct {
		what  string
		fail  string
		fn    func(*Tx) error
		err   error
		a, of bool // whether the versions of "a" and of another repository grow
	}{
		{"a change", "", take, nil, true, false},
		{"a commit that is lost", "committed", take, db.ErrUncertain, true, false},
		{"a commit that fails", "commit", take, db.ErrUncertain, true, false},
		{"nothing begun", "begin", take, cause, false, false},
		{"an undone change", "", undo, cause, false, false},
		{"a session", "", func(tx *Tx) error { return tx.TouchUpload("none", 1) }, nil, false, false},
		{"a blob", "", func(tx *Tx) error { return tx.HealBlob(1, 1) }, nil, true, true},
	} {
		fail = c.fail
		a, of := d.Version("a"), d.Version("of")
		if err := d.Tx(t.Context(), c.fn); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.what, err)
		}
		if got := [2]bool{d.Version("a") > a, d.Version("of") > of}; got != [2]bool{c.a, c.of} {
			t.Errorf("%s: versions grew: %v", c.what, got)
		}
	}
}

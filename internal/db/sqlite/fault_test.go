package sqlite

import (
	"context"
	"errors"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

// TestLockOfAnotherProcess checks that a transaction that waits too long for a lock on the file is
// unavailable, and that reading goes on.
func TestLockOfAnotherProcess(t *testing.T) {
	url := fileURL(t)
	d, other := openTest(t, url, Options{}), openTest(t, url, Options{})
	mustInsert(t, d, "a")
	connect := d.connect
	d.connect = func() (*conn, error) { // opened after each failure
		c, err := connect()
		if err == nil {
			_, err = c.query(`PRAGMA busy_timeout(0)`, nil, 1) // do not wait
		}
		return c, err
	}
	if err := d.writer.close(); err != nil {
		t.Fatal(err)
	}
	d.writer = nil
	held := startHeld(other, func(tx *db.Tx) error { return insert(tx, "b") })
	err := d.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, "c") })
	if !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUncertain) {
		t.Errorf("got %v", err)
	}
	if got := names(t, d); len(got) != 1 {
		t.Errorf("read %q", got)
	}
	if err := held.finish(); err != nil {
		t.Error(err)
	}
	mustInsert(t, d, "c")
}

// TestUnavailable checks which errors are unavailable: those of a connection that is closed or
// whose commit is lost, and not those of a statement.
func TestUnavailable(t *testing.T) {
	c := commits{fail: map[string]error{"commit": errors.New("input/output error")}}
	d := openTest(t, fileURL(t), Options{Fault: c.fault})
	add := func() error {
		return d.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, "a") })
	}
	if err := add(); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("a lost commit: %v", err)
	}
	mustInsert(t, d, "a")
	if err := add(); err == nil || errors.Is(err, db.ErrUnavailable) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := d.query(`SELECT nothing FROM nowhere`); err == nil || errors.Is(err, db.ErrUnavailable) {
		t.Errorf("wrong SQL: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.query(`SELECT 1`); !errors.Is(err, db.ErrUnavailable) || !errors.Is(err, db.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

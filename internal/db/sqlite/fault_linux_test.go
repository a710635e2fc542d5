package sqlite

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

// TestNoDescriptors checks that a connection that cannot be opened because the process has no free
// file descriptor is unavailable, for readers and for the writer.
func TestNoDescriptors(t *testing.T) {
	c := commits{}
	d := openTest(t, fileURL(t), Options{Fault: c.fault})
	c.fail = map[string]error{"commit": errors.New("input/output error")}
	add := func(name string) error {
		return d.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, name) })
	}
	if err := add("a"); !errors.Is(err, db.ErrUncertain) { // the writer has to be opened again
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	set := func(cur uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: cur, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set(limit.Cur) })
	set(3) // open files stay open
	_, read := d.query(`SELECT name FROM items`)
	wrote := add("b")
	set(limit.Cur)
	if !errors.Is(read, db.ErrUnavailable) || !errors.Is(wrote, db.ErrUnavailable) {
		t.Errorf("read: %v; write: %v", read, wrote)
	}
	if err := add("b"); err != nil {
		t.Error(err)
	}
}

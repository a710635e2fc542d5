package meta

import (
	"context"
	"fmt"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

// beside runs first in a transaction. When that has done its changes and before it commits, second
// begins, and waits for a lock of first's.
func beside(t *testing.T, d *DB, first, second func(*Tx) error) {
	t.Helper()
	done := make(chan error, 1)
	write(t, d, func(tx *Tx) error {
		if err := first(tx); err != nil {
			return err
		}
		go func() { done <- d.Tx(context.Background(), second) }()
		for waiting := false; !waiting; {
			err := d.queryRow(context.Background(), `SELECT EXISTS (SELECT 1 FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
			if err != nil {
				return err
			}
			select {
			case err := <-done:
				return fmt.Errorf("the second transaction did not wait: %v", err)
			default:
			}
		}
		return nil
	})
	must(t, <-done)
}

// TestBlobLocks checks that a transaction that waited for a blob decides by the objects that it has
// then.
func TestBlobLocks(t *testing.T) {
	d := openDB(t, dbtest.Postgres(t))
	object := func(tx *Tx, key string, blob int64) error {
		_, err := tx.exec(`INSERT INTO objects (key, blob_id, seq, size) VALUES ($1, $2, 0, 3)`, key, blob)
		return err
	}
	save := func(digest string, saved *SavedBlob) func(tx *Tx) error {
		return func(tx *Tx) (err error) {
			*saved, err = tx.SaveBlob(digest, 3, 1)
			return err
		}
	}
	var made, found SavedBlob
	beside(t, d, func(tx *Tx) error {
		if err := save("new", &made)(tx); err != nil {
			return err
		}
		return object(tx, "old", made.ID)
	}, save("new", &found))
	if found.ID != made.ID || !found.Whole {
		t.Errorf("the blob of another transaction is %+v, want %+v", found, made)
	}

	id := made.ID
	damage := func(damaged *bool) func(tx *Tx) error {
		return func(tx *Tx) (err error) { *damaged, err = tx.RecordBlobDamaged(id, "old", 2); return err }
	}
	var first, again bool
	write(t, d, damage(&first))
	heal := func(tx *Tx) error {
		if err := tx.RecordBlobHealed(id, 3); err != nil {
			return err
		}
		if err := tx.ReleaseBlob(id, 3); err != nil {
			return err
		}
		return object(tx, "new", id)
	}
	beside(t, d, heal, damage(&again))
	if !first || again {
		t.Errorf("an object of before is damaged: %t; after the blob was healed: %t", first, again)
	}

	beside(t, d, func(tx *Tx) error {
		if err := tx.RecordBlobHealed(id, 4); err != nil {
			return err
		}
		return tx.ReleaseBlob(id, 4)
	}, func(tx *Tx) error { return tx.RecordBlobChecked(id, "new", 5) })
	write(t, d, save("new", &found))
	if found.Whole || found.CheckedAt != 4 {
		t.Errorf("after its object went, the blob is %+v", found)
	}
	beside(t, d, func(tx *Tx) error {
		if err := tx.lockBlob(id); err != nil {
			return err
		}
		return object(tx, "newer", id)
	}, save("new", &found))
	if !found.Whole {
		t.Errorf("with an object again, the blob is %+v", found)
	}
}

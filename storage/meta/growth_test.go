package meta

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

// createUploads inserts sessions that differ in their ids alone.
func createUploads(tx *Tx, u Upload, ids ...string) error {
	for _, u.ID = range ids {
		if err := tx.CreateUpload(u); err != nil {
			return err
		}
	}
	return nil
}

// TestD9UsageIsRead: open sessions and allowances count for a caller, and are read from indexes
// alone.
func TestD9UsageIsRead(t *testing.T) {
	db := openDB(t, dbtest.Memory)
	var steps []string
	plan, err := db.query(t.Context(), `EXPLAIN QUERY PLAN `+usageSQL, "a", 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for plan.Next() {
		var id, parent, unused, step any
		if err := plan.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, fmt.Sprint(step))
	}
	if all := strings.Join(steps, "\n"); strings.Count(all, "USING COVERING INDEX") != 3 || strings.Contains(all, "SCAN") {
		t.Errorf("the plan is\n%s", all)
	}

	write(t, db, func(tx *Tx) error {
		if err := createUploads(tx, Upload{Repository: "a", Charged: "alice", NextPart: 1}, "1", "2", "3"); err != nil {
			return err
		}
		return createUploads(tx, Upload{Repository: "a", Charged: "bob", NextPart: 1}, "4")
	})
	write(t, db, func(tx *Tx) error { return tx.ReserveObject("k", "1", 1, 100, Allowance{"alice", 1000}) })
	write(t, db, func(tx *Tx) error { return tx.ReserveObject("l", "4", 1, 100, Allowance{"bob", 5}) })
	write(t, db, func(tx *Tx) error {
		_, err := tx.AdvanceUpload(Upload{ID: "2", Repository: "a", Charged: "alice"}, 30, nil, 9)
		return err
	})
	write(t, db, func(tx *Tx) error {
		_, err := tx.FinishUpload(Upload{ID: "3", Repository: "a"}, "sha256:1")
		return err
	})
	want := func(now int64, want Usage) {
		t.Helper()
		write(t, db, func(tx *Tx) error {
			u, err := tx.Usage("alice", now)
			if u != want {
				t.Errorf("%+v counts, want %+v", u, want)
			}
			return err
		})
	}
	want(99, Usage{2, 2*partBytes + 1030, 1})
	want(100, Usage{2, 2*partBytes + 30, 0})
	write(t, db, func(tx *Tx) error { return tx.RecordObject("k", 7) })
	want(1, Usage{2, 2*partBytes + 30, 0})
}

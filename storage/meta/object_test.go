package meta

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

// blobOf makes a blob whose objects have these sizes.
func blobOf(t *testing.T, db *DB, digest string, sizes ...int64) (id int64) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *Tx) error {
		var size int64
		for _, n := range sizes {
			size += n
		}
		b, err := tx.SaveBlob(digest, size, 1)
		if err != nil {
			return err
		}
		id = b.ID
		for i, n := range sizes {
			// Numbers have gaps where requests lost, and keys are in no order.
			if _, err := tx.exec(`INSERT INTO objects (key, blob_id, seq, size) VALUES ($1, $2, $3, $4)`,
				fmt.Sprintf("%d-%s", (i*7)%len(sizes), digest), id, 3*i, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestBlobMarks(t *testing.T) {
	db := openDB(t, dbtest.File(t))
	blobOf(t, db, "other", 100, 200)
	id := blobOf(t, db, "blob", 1, 2, 3, 4, 5)
	for n, want := range map[int]string{
		1: "[{0 0} {3 1} {6 3} {9 6} {12 10}]", 2: "[{0 0} {6 3} {12 10}]", 3: "[{0 0} {9 6}]", 5: "[{0 0}]", 64: "[{0 0}]",
	} {
		first, marks, err := db.BlobMarks(t.Context(), id, n)
		if got := fmt.Sprint(marks); err != nil || first != "0-blob" || got != want {
			t.Errorf("every %d: %s from %s on (%v), want %s", n, got, first, err, want)
		}
	}
	if _, marks, err := db.BlobMarks(t.Context(), 99, 2); err != nil || len(marks) != 0 {
		t.Errorf("of no blob: %v, %v", marks, err)
	}
	for _, test := range []struct {
		first string
		seq   int64
		want  string
	}{
		{"0-blob", 0, "[{0-blob 1} {2-blob 2}]"},
		{"0-blob", 6, "[{4-blob 3} {1-blob 4}]"},
		{"0-blob", 12, "[{3-blob 5}]"},
		{"0-blob", 13, "[]"},
		{"0-other", 0, "[]"}, // not this blob's
		{"gone", 0, "[]"},
	} {
		objects, err := db.BlobObjectsFrom(t.Context(), id, test.first, test.seq, 2)
		if got := fmt.Sprint(objects); err != nil || got != test.want {
			t.Errorf("from %d on: %s (%v), want %s", test.seq, got, err, test.want)
		}
	}
}

// The rows before those that are wanted are not looked at.
func TestBlobObjectsByIndex(t *testing.T) {
	db := openDB(t, dbtest.File(t))
	rows, err := db.query(t.Context(), `EXPLAIN QUERY PLAN `+blobObjectsFromSQL, 1, "key", 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	var plan []string
	for rows.Next() {
		var detail string
		if err := rows.Scan(new(any), new(any), new(any), &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	got := strings.Join(plan, "; ")
	if !strings.Contains(got, "USING INDEX objects_blob (blob_id=? AND seq>?)") || strings.Contains(got, "SCAN objects") || strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("the plan is %s", got)
	}
}

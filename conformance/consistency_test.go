package conformance

import (
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	_ "modernc.org/sqlite"
)

// findMismatches compares the objects of a stopped registry's bucket with the rows of its database.
// It returns a line for each object without a row, row without its object, object with another size
// than in its row, and blob with another size than its objects. An object that is not recorded yet,
// or that waits for deletion, may exist or not.
func findMismatches(t *testing.T, database, bucket string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+database+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return slices.Concat(compareObjects(t, db, bucket), checkRows(t, db, rowChecks), checkRows(t, db, sqliteChecks))
}

// compareObjects is the part of findMismatches that compares objects with rows.
func compareObjects(t *testing.T, db *sql.DB, bucket string) []string {
	t.Helper()
	sizes := bucketSizes(t, bucket)
	delete(sizes, "berth.json")
	rows, err := db.Query(`SELECT key, size, delete_after IS NULL AND size IS NOT NULL FROM objects`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var odd []string
	for rows.Next() {
		var key string
		var size sql.NullInt64
		var recorded bool
		if err := rows.Scan(&key, &size, &recorded); err != nil {
			t.Fatal(err)
		}
		found, ok := sizes[key]
		delete(sizes, key)
		switch {
		case recorded && !ok:
			odd = append(odd, "row without an object: "+key)
		case recorded && found != size.Int64:
			odd = append(odd, fmt.Sprintf("object %s has %d bytes, its row says %d", key, found, size.Int64))
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for key, size := range sizes {
		odd = append(odd, fmt.Sprintf("object without a row: %s, %d bytes", key, size))
	}
	return odd
}

// bucketSizes returns the sizes of the objects in a directory bucket by key.
func bucketSizes(t *testing.T, bucket string) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	err := filepath.WalkDir(bucket, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil // a file may be deleted during the walk
		}
		if err != nil {
			return err
		}
		key, err := filepath.Rel(bucket, path)
		sizes[filepath.ToSlash(key)] = info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sizes
}

// rowCheck is a query for inconsistent rows.
type rowCheck struct{ what, query string }

var (
	rowChecks = []rowCheck{
		{"blob without objects of its size", `SELECT digest FROM blobs b
			WHERE damaged_at IS NULL AND size <> (SELECT coalesce(sum(o.size), 0) FROM objects o WHERE o.blob_id = b.id)`},
		{"damaged blob", `SELECT digest FROM blobs WHERE damaged_at IS NOT NULL`},
		{"blob's object without a size", `SELECT key FROM objects WHERE blob_id IS NOT NULL AND size IS NULL`},
	}
	sqliteChecks = []rowCheck{
		{"integrity", `SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'`},
		{"foreign key", `SELECT "table" || ' ' || rowid || ' ' || parent FROM pragma_foreign_key_check`},
	}
)

// checkRows returns a line for each row that a check finds.
func checkRows(t *testing.T, db *sql.DB, checks []rowCheck) []string {
	t.Helper()
	var odd []string
	for _, c := range checks {
		rows, err := db.Query(c.query)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		for rows.Next() {
			var line sql.NullString
			if err := rows.Scan(&line); err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			odd = append(odd, c.what+": "+line.String)
		}
		if err := rows.Err(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		rows.Close()
	}
	return odd
}

// requireConsistent fails the test for each mismatch.
func requireConsistent(t *testing.T, database, bucket string) {
	t.Helper()
	reportMismatches(t, findMismatches(t, database, bucket))
}

func reportMismatches(t *testing.T, odd []string) {
	t.Helper()
	for i, line := range odd {
		if i == 20 {
			t.Errorf("and %d more", len(odd)-i)
			break
		}
		t.Error(line)
	}
}

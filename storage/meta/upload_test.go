package meta

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

// Uploads that are under way when the program is replaced go on, with all their objects.
// Repositories that have nothing go, and the program before does not come back.
func TestUploadsMigrate(t *testing.T) {
	url := dbtest.File(t)
	old, stop := openOld(t, url, 2)
	for _, query := range []string{
		`INSERT INTO registry (id, registry_id, incarnation, oldest_program) VALUES (1, 'r', 'i', 1)`,
		`INSERT INTO repositories (id, name, listed_at) VALUES (1, 'uploading', NULL), (2, 'empty', NULL), (3, 'blob', NULL), (4, 'listed', 7)`,
		`INSERT INTO blobs (id, digest, size, checked_at, created_at) VALUES (1, 'sha256:1', 3, 5, 5)`,
		`INSERT INTO repository_contents (repository_id, digest, blob_id, size, touched_at) VALUES (3, 'sha256:1', 1, 3, 5)`,
		`INSERT INTO uploads (id, repository_id, owner, algorithm, size, hash_state, next_part, finished_digest, created_at, updated_at) VALUES
			('open', 1, 'user:u#1', 'sha512', 5, x'0102', 3, NULL, 8, 9), ('finished', 4, '', 'sha256', 3, NULL, 1, 'sha256:1', 8, 10)`,
		`INSERT INTO objects (key, upload_id, blob_id, seq, size, writer_until, delete_after) VALUES
			('a', 'open', NULL, 0, 5, NULL, NULL), ('b', 'open', NULL, 1, NULL, 99, NULL),
			('c', NULL, 1, 0, 3, NULL, NULL), ('d', NULL, NULL, 0, NULL, NULL, 7)`,
	} {
		write(t, old, func(tx *Tx) error { _, err := tx.exec(query); return err })
	}
	stop()

	db, _ := openOld(t, url, 5)
	up, err := db.Upload(t.Context(), "uploading", "open")
	want := Upload{ID: "open", Repository: "uploading", Owner: "user:u#1", Charged: "user:u#1", Algorithm: "sha512", Size: 5, HashState: []byte{1, 2}, NextPart: 3, UpdatedAt: 9}
	if !reflect.DeepEqual(up, want) || err != nil {
		t.Errorf("the open upload is %+v, %v", up, err)
	}
	if up, err := db.Upload(t.Context(), "listed", "finished"); up.FinishedDigest != "sha256:1" || err != nil {
		t.Errorf("the finished upload is %+v, %v", up, err)
	}
	for query, want := range map[string]string{
		`SELECT name FROM repositories ORDER BY id`:                                               "[blob listed]",
		`SELECT key || COALESCE(upload_id, '') || COALESCE(blob_id, '') FROM objects`:             "[aopen bopen c1 d]",
		`SELECT "table" FROM pragma_foreign_key_check`:                                            "[]",
		`SELECT name FROM sqlite_schema WHERE name LIKE '%\_new' ESCAPE '\' OR name LIKE '%kept'`: "[]",
	} {
		if got, err := scanNames(db.query(t.Context(), query)); fmt.Sprint(got) != want || err != nil {
			t.Errorf("%s: %v, %v, want %s", query, got, err, want)
		}
	}
	// The table of objects still means that of uploads.
	write(t, db, func(tx *Tx) error { return tx.ReserveObject("e", "open", 2, 99, Claim{}) })
	if err := db.Tx(t.Context(), func(tx *Tx) error { return tx.ReserveObject("f", "none", 2, 99, Claim{}) }); err == nil || !strings.Contains(err.Error(), "FOREIGN KEY") {
		t.Errorf("an object of no upload: %v", err)
	}
	if _, err := sqlite.Open(t.Context(), url, dbtest.OldSchema(t, 2), sqlite.Options{}); err == nil || !strings.Contains(err.Error(), "needs a program for version 5") {
		t.Errorf("the program before: %v", err)
	}
}

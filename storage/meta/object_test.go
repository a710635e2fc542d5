package meta

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

func (s *suite) testObjectWriters() {
	s.fill()
	reserve := func(key, upload string, a Allowance) func(*Tx) (any, error) {
		return nothing(func(tx *Tx) error { return tx.ReserveObject(key, upload, 5, 300, a) })
	}
	allowed := func(key, upload string) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) { return tx.Allowed(key, upload) }
	}
	renew := func(key, upload string) func(*Tx) (any, error) {
		return nothing(func(tx *Tx) error { return tx.RenewLease(key, upload, 300, 70) })
	}
	s.changes([]change{
		{what: "reserve", call: reserve("k", "new", Allowance{"net", 9}), rows: []string{"+object k attempts=0 charged=net claimed=9 seq=5 until=300 upload=new"}},
		{what: "reserve without an allowance", call: reserve("k", "new", Allowance{}), rows: []string{"+object k attempts=0 claimed=0 seq=5 until=300 upload=new"}},
		{what: "reserve a key that is there", call: reserve("gone/a", "new", Allowance{}), err: errRefused},
		{what: "reserve for no upload", call: reserve("k", "none", Allowance{}), err: errRefused},

		{what: "allowed", call: allowed("open/c", "open"), value: int64(1000)},
		{what: "allowed nothing", call: allowed("new/a", "new"), value: int64(0)},
		{what: "allowed for another upload's", call: allowed("open/c", "new"), err: fs.ErrNotExist},
		{what: "allowed for a released one", call: allowed("gone/d", "open"), err: fs.ErrNotExist},

		{what: "allow more", call: nothing(func(tx *Tx) error { return tx.SetAllowance("open/c", Allowance{"bob", 2000}) }), rows: []string{"object open/c charged=bob claimed=2000"}},

		{what: "renew", call: renew("open/c", "open"), rows: []string{"object open/c until=300", "upload open updated=70"}},
		{what: "renew another upload's", call: renew("open/c", "new"), err: fs.ErrNotExist},
		{what: "renew a released one", call: renew("gone/d", "open"), err: fs.ErrNotExist},

		{what: "record", call: nothing(func(tx *Tx) error { return tx.RecordObject("open/c", 7) }), rows: []string{"object open/c charged= claimed= size=7 until="}},
		{what: "record none", call: nothing(func(tx *Tx) error { return tx.RecordObject("none", 7) })},
	})
}

// Each object has exactly one owner. These calls change it.
func (s *suite) testObjectOwners() {
	s.fill()
	release := func(key string) func(*Tx) (any, error) {
		return nothing(func(tx *Tx) error { return tx.ReleaseObject(key, 70) })
	}
	give := func(key string) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) { return tx.GiveToBlob("open", key, 9, 1004) }
	}
	s.changes([]change{
		{what: "abandon", call: release("open/c"), rows: []string{"object open/c after=70 charged= claimed= until= upload="}},
		{what: "abandon after the upload expired", call: release("gone/d"), rows: []string{"object gone/d after=70 charged= claimed= until="}},
		{what: "abandon a forgotten one", call: release("late"), rows: []string{"+object late after=70 attempts=0 seq=0"}},
		{what: "abandon the worker's", call: release("gone/b")},
		{what: "abandon a blob's", call: release("one/0")},
		{what: "abandon none", call: release("")},

		{what: "release an upload", call: nothing(func(tx *Tx) error { return tx.ReleaseUpload("open", 70) }), rows: []string{
			"object open/a after=70 upload=", "object open/b after=70 upload=", "object open/c after=100 upload=",
		}},
		{what: "release it when the lease is over", call: nothing(func(tx *Tx) error { return tx.ReleaseUpload("open", 170) }), rows: []string{
			"object open/a after=170 upload=", "object open/b after=170 upload=", "object open/c after=170 upload=",
		}},
		{what: "release all that are not recorded", call: func(tx *Tx) (any, error) { return tx.ReleaseUnrecorded(70) }, value: int64(3), rows: []string{
			"object new/a after=70 until= upload=", "object open/c after=70 charged= claimed= until= upload=", "object spare/a after=70 until= upload=",
		}},
		{what: "release a blob", call: nothing(func(tx *Tx) error { return tx.ReleaseBlob(1002, 70) }), marked: "*", rows: []string{
			"object many/a after=70 blob=", "object many/b after=70 blob=",
		}},

		{what: "the bytes of a blob", call: func(tx *Tx) (any, error) { return tx.SumObjects(1002) }, value: int64(6)},
		{what: "the bytes of a blob without objects", call: func(tx *Tx) (any, error) { return tx.SumObjects(1004) }, value: int64(0)},
		{what: "give to a blob, with the last one", call: give("open/c"), value: int64(3), rows: []string{
			"object open/a blob=bare upload=", "object open/b blob=bare upload=",
			"object open/c blob=bare charged= claimed= size=9 until= upload=",
		}},
		{what: "give to a blob", call: give(""), value: int64(2), rows: []string{"object open/a blob=bare upload=", "object open/b blob=bare upload="}},
		{what: "give to a blob, with the key of another upload", call: give("new/a"), value: int64(2), rows: []string{"object open/a blob=bare upload=", "object open/b blob=bare upload="}},
		{what: "give to no blob", call: func(tx *Tx) (any, error) { return tx.GiveToBlob("open", "", 9, 9999) }, err: errRefused},
	})
}

// The deletion worker changes rows of its own objects only.
func (s *suite) testObjectDeletion() {
	s.fill()
	keys := []string{"gone/a", "gone/c", "one/0", "open/a", "new/a", "none"}
	claim := func(now int64, n int) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) {
			objects, err := tx.ClaimDeletable(now, 90, n)
			slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
			return objects, err
		}
	}
	s.changes([]change{
		{what: "forget", call: nothing(func(tx *Tx) error { return tx.ForgetObjects(keys, 400) }), rows: []string{"-object gone/a", "-object gone/c"}},
		{what: "forget one whose writer may be writing", call: nothing(func(tx *Tx) error { return tx.ForgetObjects([]string{"gone/d", "gone/a"}, 400) }),
			rows: []string{"-object gone/a", "object gone/d after=400 charged= claimed= until="}},
		{what: "forget none", call: nothing(func(tx *Tx) error { return tx.ForgetObjects(nil, 400) })},
		{what: "claim", call: claim(40, 9), value: []Object{{"gone/a", 0}, {"gone/b", 8}}, rows: []string{"object gone/a after=90", "object gone/b after=90"}},
		{what: "claim the earliest", call: claim(40, 1), value: []Object{{"gone/b", 8}}, rows: []string{"object gone/b after=90"}},
		{what: "claim none", call: claim(29, 9), value: []Object(nil)},
		{what: "postpone", call: nothing(func(tx *Tx) error { return tx.PostponeObjects(keys, 80) }), rows: []string{
			"object gone/a after=80 attempts=1", "object gone/c after=80 attempts=3",
		}},
		{what: "postpone none", call: nothing(func(tx *Tx) error { return tx.PostponeObjects(nil, 80) })},
	})
}

func (s *suite) testObjectReads() {
	s.fill()
	blob := func(id int64) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.BlobObjects(ctx, id) }
	}
	upload := func(id string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.UploadObjects(ctx, id) }
	}
	deletable := func(now int64, n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.Deletable(ctx, now, n) }
	}
	type marks struct {
		first string
		marks []Mark
	}
	marksOf := func(id int64, n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			first, m, err := s.db.BlobMarks(ctx, id, n)
			return marks{first, m}, err
		}
	}
	from := func(id int64, first string, seq int64, n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.BlobObjectsFrom(ctx, id, first, seq, n) }
	}
	none := []Object(nil)
	s.reads([]read{
		{"a blob's, in their order", blob(1002), []Object{{"many/b", 2}, {"many/a", 4}}, nil},
		{"a blob's that has none", blob(1004), none, nil},
		{"an upload's that are recorded", upload("open"), []Object{{"open/b", 2}, {"open/a", 3}}, nil},
		{"an upload's without any", upload("new"), none, nil},

		{"deletable, the earliest first", deletable(40, 9), []Object{{"gone/b", 8}, {"gone/a", 0}}, nil},
		{"one of them", deletable(50, 1), []Object{{"gone/b", 8}}, nil},
		{"none yet", deletable(29, 9), none, nil},

		{"every mark", marksOf(1002, 1), marks{"many/b", []Mark{{0, 0}, {3, 2}}}, nil},
		{"every second mark", marksOf(1002, 2), marks{"many/b", []Mark{{0, 0}}}, nil},
		{"marks of none", marksOf(1004, 1), marks{}, nil},
		{"from the second on", from(1002, "many/b", 1, 9), []Object{{"many/a", 4}}, nil},
		{"one from the first on", from(1002, "many/b", 0, 1), []Object{{"many/b", 2}}, nil},
		{"with the first of another blob", from(1002, "one/0", 0, 9), none, nil},
	})
}

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

// TestBlobObjectsByIndex: no row before the first result is read.
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

package meta

import (
	"context"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

// openUpload is the session open of the fixture.
func openUpload() Upload {
	return Upload{
		ID: "open", Repository: "a", Owner: "alice", Charged: "net", Algorithm: "sha256",
		Size: 5, HashState: []byte("state"), NextPart: 3, UpdatedAt: 50,
	}
}

// spareUpload is the session spare of the fixture.
func spareUpload() Upload { return Upload{ID: "spare", NextPart: 1, UpdatedAt: 65} }

// assigned is a spare session after it was given to bob.
func assigned(id string) Upload {
	return Upload{ID: id, Repository: "c", Owner: "bob", Charged: "net", Algorithm: "sha512", NextPart: 1}
}

func advance(u Upload, size int64, state string) func(*Tx) (any, error) {
	return func(tx *Tx) (any, error) { return tx.AdvanceUpload(u, size, []byte(state), 70) }
}

func finish(u Upload) func(*Tx) (any, error) {
	return func(tx *Tx) (any, error) { return tx.FinishUpload(u, "many") }
}

// A spare session belongs to no caller. It is made and removed with its object, and assigned once.
func (s *suite) testSpareUploads() {
	s.fill()
	s.changes([]change{
		{what: "create", call: nothing(func(tx *Tx) error { return tx.CreateSpareUploads(map[string]string{"k": "x", "l": "y"}, 70, 400) }),
			rows: []string{
				"+object k attempts=0 seq=0 until=400 upload=x", "+object l attempts=0 seq=0 until=400 upload=y",
				"+upload x algorithm='' charged='' created=70 next=1 owner='' repository='' size=0 updated=70",
				"+upload y algorithm='' charged='' created=70 next=1 owner='' repository='' size=0 updated=70",
			}},
		{what: "create none", call: nothing(func(tx *Tx) error { return tx.CreateSpareUploads(nil, 70, 400) })},
		{what: "create an id that is there", call: nothing(func(tx *Tx) error { return tx.CreateSpareUploads(map[string]string{"k": "open"}, 70, 400) }),
			err: errRefused},
		{what: "assign", call: nothing(func(tx *Tx) error {
			return tx.AssignUploads([]Upload{assigned("spare"), assigned("open"), assigned("none")})
		}),
			rows: []string{"upload spare algorithm=sha512 charged=net owner=bob repository=c"}},
		{what: "assign none", call: nothing(func(tx *Tx) error { return tx.AssignUploads(nil) })},
		{what: "remove", call: nothing(func(tx *Tx) error { return tx.RemoveSpareUploads([]string{"spare", "new", "none"}) }),
			rows: []string{"-object spare/a", "-upload spare"}},
		{what: "remove none", call: nothing(func(tx *Tx) error { return tx.RemoveSpareUploads(nil) })},
	})
}

func (s *suite) testUploads() {
	s.fill()
	create := Upload{ID: "x", Repository: "c", Owner: "bob", Charged: "net", Algorithm: "sha512", Size: 9, NextPart: 1, UpdatedAt: 70}
	with := func(u Upload, change func(u *Upload)) Upload {
		change(&u)
		return u
	}
	s.changes([]change{
		{what: "create", call: nothing(func(tx *Tx) error { return tx.CreateUpload(create) }), rows: []string{
			"+upload x algorithm=sha512 charged=net created=70 next=1 owner=bob repository=c size=0 updated=70",
		}},
		{what: "create an id that is there", call: nothing(func(tx *Tx) error { return tx.CreateUpload(openUpload()) }), err: errRefused},

		{what: "get", call: func(tx *Tx) (any, error) { return tx.Upload("a", "open") }, value: openUpload()},
		{what: "get of another repository", call: func(tx *Tx) (any, error) { return tx.Upload("b", "open") }, err: fs.ErrNotExist},

		{what: "get a spare one", call: func(tx *Tx) (any, error) { return tx.Upload("b", "spare") }, value: spareUpload()},

		{what: "begin a part", call: func(tx *Tx) (any, error) { return tx.BeginPart(Upload{ID: "open", Repository: "a", Owner: "eve"}, 70) },
			value: with(openUpload(), func(u *Upload) { u.NextPart, u.UpdatedAt = 4, 70 }), rows: []string{"upload open next=4 updated=70"}},
		{what: "begin a part of a spare one", call: func(tx *Tx) (any, error) { return tx.BeginPart(assigned("spare"), 70) },
			value: with(assigned("spare"), func(u *Upload) { u.NextPart, u.UpdatedAt = 2, 70 }),
			rows:  []string{"upload spare algorithm=sha512 charged=net next=2 owner=bob repository=c updated=70"}},
		{what: "begin a part in another repository", call: func(tx *Tx) (any, error) { return tx.BeginPart(Upload{ID: "open", Repository: "b"}, 70) },
			err: fs.ErrNotExist},
		{what: "begin a part of a finished one", call: func(tx *Tx) (any, error) { return tx.BeginPart(Upload{ID: "done", Repository: "b"}, 70) },
			err: fs.ErrNotExist},

		{what: "advance", call: advance(with(openUpload(), func(u *Upload) { u.Algorithm = "sha512" }), 8, "more"),
			value: true, rows: []string{"upload open algorithm=sha512 hash=more size=8 updated=70"}},
		{what: "advance a spare one", call: advance(assigned("spare"), 8, "more"),
			value: true, rows: []string{"upload spare algorithm=sha512 charged=net hash=more owner=bob repository=c size=8 updated=70"}},
		{what: "advance from another size", call: advance(with(openUpload(), func(u *Upload) { u.Size = 4 }), 8, ""), value: false},
		{what: "advance a finished one", call: advance(Upload{ID: "done", Repository: "b", Size: 3}, 8, ""), value: false},
		{what: "advance none", call: advance(Upload{ID: "none"}, 8, ""), value: false},

		{what: "finish", call: finish(openUpload()), value: true, rows: []string{"upload open finished=many hash="}},
		{what: "finish a spare one", call: finish(assigned("spare")), value: true, rows: []string{"upload spare finished=many owner=bob repository=c"}},
		{what: "finish another size", call: finish(with(openUpload(), func(u *Upload) { u.Size = 4 })), value: false},
		{what: "finish twice", call: finish(Upload{ID: "done", Repository: "b", Size: 3}), value: false},
		{what: "finish none", call: finish(Upload{ID: "none"}), value: false},

		{what: "touch", call: nothing(func(tx *Tx) error { return tx.TouchUpload("open", 70) }), rows: []string{"upload open updated=70"}},
		{what: "touch none", call: nothing(func(tx *Tx) error { return tx.TouchUpload("none", 70) })},

		{what: "delete", call: func(tx *Tx) (any, error) { return tx.DeleteUpload("done") }, value: true, rows: []string{"-upload done"}},
		{what: "delete none", call: func(tx *Tx) (any, error) { return tx.DeleteUpload("none") }, value: false},
		{what: "delete one with objects", call: func(tx *Tx) (any, error) { return tx.DeleteUpload("open") }, err: errRefused},
	})
}

func (s *suite) testUploadReads() {
	s.fill()
	upload := func(repo, id string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.Upload(ctx, repo, id) }
	}
	idle := func(openBefore, finishedBefore int64, n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.IdleUploads(ctx, openBefore, finishedBefore, n) }
	}
	s.reads([]read{
		{"open", upload("a", "open"), openUpload(), nil},
		{"without bytes", upload("a", "new"), Upload{ID: "new", Repository: "a", Owner: "bob", Charged: "bob", Algorithm: "sha512", NextPart: 1, UpdatedAt: 60}, nil},
		{"finished", upload("b", "done"), Upload{
			ID: "done", Repository: "b", Owner: "alice", Charged: "net", Algorithm: "sha256", Size: 3, NextPart: 1, FinishedDigest: "one", UpdatedAt: 55,
		}, nil},
		{"of another repository", upload("b", "open"), nil, fs.ErrNotExist},
		{"spare", upload("b", "spare"), spareUpload(), nil},
		{"none", upload("a", "none"), nil, fs.ErrNotExist},

		{"all are idle, the longest first", idle(61, 61, 9), []string{"open", "done", "new"}, nil},
		{"at most two", idle(61, 61, 2), []string{"open", "done"}, nil},
		{"bounds are exclusive", idle(50, 55, 9), []string(nil), nil},
		{"an open one alone", idle(51, 55, 9), []string{"open"}, nil},
		{"a finished one alone", idle(50, 61, 9), []string{"done"}, nil},

		{"usage", func(ctx context.Context) (any, error) { return s.db.Usage(ctx, "bob", 1) }, Usage{Sessions: 1, Bytes: partBytes}, nil},
		{"open ones are counted", func(ctx context.Context) (any, error) { return s.db.CountOpenUploads(ctx) }, int64(2), nil},
	})
}

// An upload expires only while it is idle. Then its objects are the deletion worker's, which leaves
// an object alone until its lease ends.
func (s *suite) testUploadExpiry() {
	s.fill()
	expire := func(id string, openBefore, finishedBefore int64) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) {
			return tx.ExpireUploads([]string{id, "none"}, openBefore, finishedBefore, 70)
		}
	}
	s.changes([]change{
		{what: "idle", call: expire("open", 51, 51), value: int64(1), rows: []string{
			"-upload open", "object open/a after=70 upload=", "object open/b after=70 upload=", "object open/c after=100 upload=",
		}},
		{what: "used meanwhile", call: expire("open", 50, 60), value: int64(0)},
		{what: "finished", call: expire("done", 10, 56), value: int64(1), rows: []string{"-upload done"}},
		{what: "finished a moment ago", call: expire("done", 10, 55), value: int64(0)},
		{what: "none", call: expire("none", 99, 99), value: int64(0)},
	})
}

// Usage counts what a caller has in open sessions and in requests whose lease has not ended.
func (s *suite) testUsage() {
	s.fill()
	usage := func(charged string, now int64) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) { return tx.Usage(charged, now) }
	}
	s.changes([]change{
		{what: "with a request", call: usage("net", 99), value: Usage{Sessions: 1, Bytes: 5 + 3*partBytes + 1000, Requests: 1}},
		{what: "after its lease", call: usage("net", 100), value: Usage{Sessions: 1, Bytes: 5 + 3*partBytes}},
		{what: "without a request", call: usage("bob", 1), value: Usage{Sessions: 1, Bytes: partBytes}},
		{what: "of a session that is gone", call: usage("carol", 99), value: Usage{Bytes: 7, Requests: 1}},
		{what: "of nothing", call: usage("alice", 1), value: Usage{}},
	})
}

// TestUploadsMigrate: the migration keeps uploads with all their objects and removes unlisted
// repositories without content. Older programs refuse the database then.
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
	// The foreign key of objects still refers to the new table of uploads.
	write(t, db, func(tx *Tx) error { return tx.ReserveObject("e", "open", 2, 99, Allowance{}) })
	if err := db.Tx(t.Context(), func(tx *Tx) error { return tx.ReserveObject("f", "none", 2, 99, Allowance{}) }); err == nil || !strings.Contains(err.Error(), "FOREIGN KEY") {
		t.Errorf("an object of no upload: %v", err)
	}
	if _, err := sqlite.Open(t.Context(), url, dbtest.OldSchema(t, 2), sqlite.Options{}); err == nil || !strings.Contains(err.Error(), "needs a program for version 5") {
		t.Errorf("the program before: %v", err)
	}
}

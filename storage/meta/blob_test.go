package meta

import (
	"context"
	"errors"
	"io/fs"
)

func (s *suite) testBlobs() {
	s.fill()
	save := func(digest string) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) { return tx.SaveBlob(digest, 99, 70) }
	}
	damage := func(id int64, key string) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) { return tx.RecordBlobDamaged(id, key, 70) }
	}
	s.changes([]change{
		{what: "save a new one", call: func(tx *Tx) (any, error) {
			b, err := tx.SaveBlob("new", 99, 70)
			if b.ID <= 1005 && err == nil {
				err = errors.New("the id was used before")
			}
			b.ID = 0
			return b, err
		}, value: SavedBlob{CheckedAt: 70}, rows: []string{"+blob new checked=70 created=70 size=99"}},
		{what: "save a whole one", call: save("one"), value: SavedBlob{ID: 1001, Whole: true, CheckedAt: 11}},
		{what: "save a damaged one", call: save("bad"), value: SavedBlob{ID: 1003, Damaged: true, CheckedAt: 13}},
		{what: "save one without objects", call: save("bare"), value: SavedBlob{ID: 1004, CheckedAt: 14}},

		{what: "check", call: nothing(func(tx *Tx) error { return tx.RecordBlobChecked(1001, "one/0", 70) }), rows: []string{"blob one checked=70"}},
		{what: "check an object of another blob", call: nothing(func(tx *Tx) error { return tx.RecordBlobChecked(1001, "bad/0", 70) })},
		{what: "heal", call: nothing(func(tx *Tx) error { return tx.RecordBlobHealed(1003, 70) }), marked: "*", rows: []string{"blob bad checked=70 damaged="}},
		{what: "damage", call: damage(1001, "one/0"), value: true, marked: "*", rows: []string{"blob one damaged=70"}},
		{what: "damage twice", call: damage(1003, "bad/0"), value: false, marked: "*"},
		{what: "damage an object of another blob", call: damage(1001, "many/a"), value: false, marked: "*"},
	})
}

func (s *suite) testBlobReads() {
	s.fill()
	get := func(repo, digest string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.Blob(ctx, repo, digest) }
	}
	repositories := func(digest string, n int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.BlobRepositories(ctx, digest, n) }
	}
	none := []string(nil)
	s.reads([]read{
		{"of one object", get("a", "one"), Blob{ID: 1001, Digest: "one", Size: 3, Object: Object{"one/0", 3}}, nil},
		{"of two objects", get("a", "many"), Blob{ID: 1002, Digest: "many", Size: 6}, nil},
		{"of none", get("u", "bare"), Blob{ID: 1004, Digest: "bare", Size: 5}, nil},
		{"damaged", get("a", "bad"), Blob{ID: 1003, Digest: "bad", Size: 4, Damaged: true, Object: Object{"bad/0", 4}}, nil},
		{"hidden", get("a", "hid"), nil, fs.ErrNotExist},
		{"another repository's", get("b", "many"), nil, fs.ErrNotExist},
		{"of no repository", get("none", "one"), nil, fs.ErrNotExist},
		{"a placeholder", get("a", "wait"), nil, fs.ErrNotExist},
		{"a manifest", get("a", "img"), nil, fs.ErrNotExist},

		{"repositories, by id", repositories("one", 9), []string{"b", "a", "u"}, nil},
		{"two of them", repositories("one", 2), []string{"b", "a"}, nil},
		{"of a damaged one", repositories("bad", 9), none, nil},
		{"of a hidden one", repositories("hid", 9), none, nil},
		{"of none", repositories("none", 9), none, nil},
	})

	in := func(repo, digest string) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) { return tx.BlobIn(repo, digest) }
	}
	s.changes([]change{
		{what: "in its repository", call: in("a", "many"), value: Blob{ID: 1002, Digest: "many", Size: 6}},
		{what: "in another", call: in("b", "many"), err: fs.ErrNotExist},
		{what: "damaged, in its repository", call: in("a", "bad"), err: fs.ErrNotExist},
		{what: "hidden, in its repository", call: in("a", "hid"), err: fs.ErrNotExist},
		{what: "a placeholder", call: in("a", "wait"), err: fs.ErrNotExist},
	})
}

package schema_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"testing"

	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/db/schema"
	"github.com/berth-registry/berth/storage/meta"
)

func TestVersionIsNewestMigration(t *testing.T) {
	for engine, url := range map[string]func(testing.TB) string{
		"sqlite":   func(testing.TB) string { return dbtest.Memory },
		"postgres": dbtest.Postgres,
	} {
		t.Run(engine, func(t *testing.T) { checkVersion(t, engine, url) })
	}
}

// checkVersion checks that the migrations of an engine are numbered up to the schema's version.
func checkVersion(t *testing.T, engine string, url func(testing.TB) string) {
	s := schema.Current()
	names, err := fs.Glob(s.Files, engine+"/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %v", names, err)
	}
	for i, name := range names {
		var number int
		if _, err := fmt.Sscanf(path.Base(name), "%05d_", &number); err != nil || number != i+1 {
			t.Errorf("%s is number %d (%v), want %d", name, number, err, i+1)
		}
	}
	if s.Version != len(names) {
		t.Errorf("the newest migration is %d, the schema's version %d", len(names), s.Version)
	}
	var newest int
	d := dbtest.Open(t, url(t))
	if err := d.QueryRow(t.Context(), `SELECT MAX(version_id) FROM goose_db_version`).Scan(&newest); err != nil || newest != s.Version {
		t.Errorf("version %d is recorded, %v", newest, err)
	}
}

// TestRegistry checks that a new database has no identity, that the first identity stays, and that
// older programs are refused.
func TestRegistry(t *testing.T) {
	url := dbtest.File(t)
	d := dbtest.Open(t, url)
	if _, err := schema.ReadRegistry(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	want := schema.Registry{ID: "a", Incarnation: "b"}
	for _, r := range []schema.Registry{want, {ID: "c", Incarnation: "d"}} { // the first one stays
		if err := d.Tx(t.Context(), func(tx *db.Tx) error { return schema.CreateRegistry(tx, r) }); err != nil {
			t.Fatal(err)
		}
	}
	again := dbtest.Open(t, url)
	if got, err := schema.ReadRegistry(t.Context(), again); got != want || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	var oldest int
	if err := again.QueryRow(t.Context(), schema.Current().OldestProgramSQL).Scan(&oldest); oldest != 5 || err != nil {
		t.Errorf("the oldest program is %d, %v", oldest, err)
	}
}

func TestEmpty(t *testing.T) {
	ofRegistry := func(fn func(*meta.Tx) error) func(context.Context, *db.DB) error {
		return func(ctx context.Context, d *db.DB) error { return meta.New(d).Tx(ctx, fn) }
	}
	for what, use := range map[string]func(context.Context, *db.DB) error{
		"repository": ofRegistry(func(tx *meta.Tx) error { _, err := tx.EnsureRepo("a"); return err }),
		"upload": ofRegistry(func(tx *meta.Tx) error {
			return tx.CreateUpload(meta.Upload{ID: "1", Repository: "a"})
		}),
		"account": func(ctx context.Context, d *db.DB) error {
			return rows.New(d).Tx(ctx, func(tx *rows.Tx) error {
				_, err := tx.CreateAccount(rows.Account{Kind: "robot", Name: "r"})
				return err
			})
		},
	} {
		d := dbtest.Open(t, dbtest.Memory)
		if empty, err := schema.Empty(t.Context(), d); !empty || err != nil {
			t.Errorf("new: %v, %v", empty, err)
		}
		if err := use(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if empty, err := schema.Empty(t.Context(), d); empty || err != nil {
			t.Errorf("with a %s: %v, %v", what, empty, err)
		}
	}
}

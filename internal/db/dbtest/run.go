package dbtest

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

// Engine describes an engine to the suite.
type Engine struct {
	// Open opens a new database with schema s and closes it when the test ends.
	Open func(t testing.TB, s db.Schema) *db.DB
	// IsUnique and IsForeignKey report whether err means that a statement or a commit violated a
	// constraint of that kind.
	IsUnique, IsForeignKey func(err error) bool
}

// Run tests that an engine keeps the guarantees of package db.
func Run(t *testing.T, e Engine) {
	for name, test := range map[string]func(*suite){
		"undone":              (*suite).testUndone,
		"failed statement":    (*suite).testFailedStatement,
		"returning":           (*suite).testReturning,
		"deferred constraint": (*suite).testDeferredConstraint,
		"ended context":       (*suite).testEndedContext,
		"panic":               (*suite).testPanic,
		"goexit":              (*suite).testGoexit,
		"serializable":        (*suite).testSerializable,
		"readers":             (*suite).testReaders,
		"on commit":           (*suite).testOnCommit,
		"no row":              (*suite).testNoRow,
		"values":              (*suite).testValues,
		"lists":               (*suite).testLists,
		"lists of structs":    (*suite).testListsOfStructs,
		"locks":               (*suite).testLocks,
		"clock":               (*suite).testClock,
		"scan":                (*suite).testScan,
		"scans wait":          (*suite).testScansWait,
		"close":               (*suite).testClose,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{T: t, Engine: e, db: e.Open(t, suiteSchema(t))}) })
	}
}

//go:embed schema
var suiteFiles embed.FS

// suiteSchema returns the schema of the suite. It has its own migrations for each engine.
func suiteSchema(t *testing.T) db.Schema {
	t.Helper()
	files, err := fs.Sub(suiteFiles, "schema")
	if err != nil {
		t.Fatal(err)
	}
	return db.Schema{Files: files, Version: 1, OldestProgramSQL: `SELECT 1`}
}

// suite is the state of one test of the suite.
type suite struct {
	*testing.T
	Engine
	db *db.DB
}

func (s *suite) tx(fn func(tx *db.Tx) error) error { return s.db.Tx(context.Background(), fn) }

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func insert(tx *db.Tx, name string) error {
	_, err := tx.Exec(`INSERT INTO items (name) VALUES ($1)`, name)
	return err
}

func (s *suite) insert(names ...string) {
	s.Helper()
	s.must(s.tx(func(tx *db.Tx) error {
		var errs []error
		for _, name := range names {
			errs = append(errs, insert(tx, name))
		}
		return errors.Join(errs...)
	}))
}

// wantNames checks that the table items has exactly these names.
func (s *suite) wantNames(want ...string) {
	s.Helper()
	rows, err := s.db.Query(context.Background(), `SELECT name FROM items ORDER BY name`)
	s.must(err)
	var got []string
	for rows.Next() {
		var name string
		s.must(rows.Scan(&name))
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		s.Errorf("the items are %q, want %q", got, want)
	}
}

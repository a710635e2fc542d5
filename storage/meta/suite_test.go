package meta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
)

// engines has a function for each engine that opens a new database with the program's schema.
var engines = map[string]func(t *testing.T) *db.DB{
	"sqlite":          func(t *testing.T) *db.DB { return dbtest.Open(t, dbtest.Memory) },
	"sqlite reversed": openReversed,
	"postgres":        openPostgres,
}

// openPostgres opens a database on PostgreSQL that gives larger ids than the fixture has.
func openPostgres(t *testing.T) *db.DB {
	d := dbtest.Open(t, dbtest.Postgres(t))
	must(t, d.Tx(t.Context(), func(tx *db.Tx) error {
		for _, table := range []string{"repositories", "blobs", "manifests"} {
			if _, err := tx.Exec(`ALTER TABLE ` + table + ` ALTER COLUMN id RESTART WITH 2001`); err != nil {
				return err
			}
		}
		return nil
	}))
	return d
}

// openReversed opens a database that reverses what is read in no stated order: SQLite reads by an
// index, so that rows have the right order by chance.
func openReversed(t *testing.T) *db.DB {
	const pragma = `PRAGMA reverse_unordered_selects = 1`
	d := dbtest.Open(t, dbtest.Memory)
	_, err := d.Query(t.Context(), pragma) // of the one reader: no query here waits for another
	must(t, err)
	must(t, d.Tx(t.Context(), func(tx *db.Tx) error { _, err := tx.Query(pragma); return err }))
	return d
}

// TestSuite tests what each method guarantees, on every engine. Its SQL is that of all engines.
func TestSuite(t *testing.T) {
	for engine, open := range engines {
		for subject, test := range map[string]func(*suite){
			"registry":            (*suite).testRegistry,
			"uploads":             (*suite).testUploads,
			"spare uploads":       (*suite).testSpareUploads,
			"upload reads":        (*suite).testUploadReads,
			"upload expiry":       (*suite).testUploadExpiry,
			"usage":               (*suite).testUsage,
			"object writers":      (*suite).testObjectWriters,
			"object owners":       (*suite).testObjectOwners,
			"object deletion":     (*suite).testObjectDeletion,
			"object reads":        (*suite).testObjectReads,
			"blobs":               (*suite).testBlobs,
			"blob reads":          (*suite).testBlobReads,
			"contents":            (*suite).testContents,
			"contents added":      (*suite).testContentsAdded,
			"contents removed":    (*suite).testContentsRemoved,
			"manifests":           (*suite).testManifests,
			"manifests saved":     (*suite).testManifestsSaved,
			"manifest references": (*suite).testManifestReferences,
			"manifests deleted":   (*suite).testManifestsDeleted,
			"tags":                (*suite).testTags,
			"repositories":        (*suite).testRepositories,
			"repository lists":    (*suite).testRepositoryLists,
			"tag lists":           (*suite).testTagLists,
			"unstorable":          (*suite).testUnstorable,
			"extents":             (*suite).testExtents,
			"referrers":           (*suite).testReferrers,
		} {
			t.Run(engine+"/"+subject, func(t *testing.T) {
				f := &faulty{DB: open(t)}
				test(&suite{T: t, faulty: f, db: New(db.New(f))})
			})
		}
	}
}

// suite is one test of the suite with its database.
type suite struct {
	*testing.T
	faulty *faulty
	db     *DB
}

// change is a call in a transaction, and everything that it does.
type change struct {
	what   string
	call   func(tx *Tx) (any, error)
	value  any      // what it returns
	err    error    // errRefused for any error of the database
	marked string   // names of repositories that it marks as changed; "*" for all
	rows   []string // the rows that it changes, as diff writes them
}

// errRefused stands for the error of a statement that violates a constraint.
var errRefused = errors.New("refused by the database")

// changes tests each change on the rows that are there, and undoes it. It also tests that the call
// fails when one of its statements does, or has a result that cannot be read.
func (s *suite) changes(all []change) {
	s.Helper()
	for _, c := range all {
		var value any
		var err error
		var marked, rows []string
		s.undone(func(tx *Tx) error {
			before, errBefore := snapshot(tx)
			value, err = c.call(tx)
			after, errAfter := snapshot(tx)
			marked, rows = tx.changed, diff(before, after)
			if c.err == errRefused {
				errAfter = nil // the transaction is over
			}
			return errors.Join(errBefore, errAfter)
		})
		if c.err == errRefused {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				s.Errorf("%s: the database did not refuse it: %v", c.what, err)
			}
			continue
		}
		if !errors.Is(err, c.err) || c.err == nil && !reflect.DeepEqual(value, c.value) {
			s.Errorf("%s: got %+v, %v, want %+v, %v", c.what, value, err, c.value, c.err)
		}
		if got := strings.ReplaceAll(fmt.Sprintf("%q", marked), `""`, `"*"`); got != fmt.Sprintf("%q", strings.Fields(c.marked)) {
			s.Errorf("%s: marked %s as changed, want %q", c.what, got, c.marked)
		}
		if !slices.Equal(rows, c.rows) {
			s.Errorf("%s: the rows that changed are\n%s\nwant\n%s", c.what, strings.Join(rows, "\n"), strings.Join(c.rows, "\n"))
		}
		s.fails(c.what, func() (err error) {
			s.undone(func(tx *Tx) error {
				err = s.counted(func() (any, error) { return c.call(tx) })
				return nil
			})
			return err
		})
	}
}

// undone runs fn in a transaction, which it undoes.
func (s *suite) undone(fn func(tx *Tx) error) {
	s.Helper()
	undo := errors.New("undo")
	err := s.db.Tx(context.Background(), func(tx *Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return undo
	})
	if !errors.Is(err, undo) {
		s.Error(err)
	}
}

// read is a call that only reads, and what it returns.
type read struct {
	what  string
	call  func(ctx context.Context) (any, error)
	value any
	err   error
}

// reads tests each read. It also tests that the call fails when its context has ended, when one of
// its queries fails, or when a result cannot be read.
func (s *suite) reads(all []read) {
	s.Helper()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, r := range all {
		value, err := r.call(context.Background())
		if !errors.Is(err, r.err) || r.err == nil && !reflect.DeepEqual(value, r.value) {
			s.Errorf("%s: got %+v, %v, want %+v, %v", r.what, value, err, r.value, r.err)
		}
		if _, err := r.call(ended); !errors.Is(err, context.Canceled) {
			s.Errorf("%s: with an ended context: %v", r.what, err)
		}
		s.fails(r.what, func() error {
			return s.counted(func() (any, error) { return r.call(context.Background()) })
		})
	}
}

// table is a table as diff shows it: a query for the name of a row, then for the columns.
type table struct{ name, columns, query string }

var tables = []table{
	{"catalog", "version", `SELECT 'list', version FROM catalog`},
	{"repository", "listed version", `SELECT name, listed_at, listed_version FROM repositories`},
	{"blob", "size damaged checked created", `SELECT digest, size, damaged_at, checked_at, created_at FROM blobs`},
	{
		"upload", "repository owner charged algorithm size hash next finished created updated",
		`SELECT id, repository, owner, charged, algorithm, size, hash_state, next_part, finished_digest, created_at, updated_at FROM uploads`,
	},
	{
		"object", "upload blob seq size until after attempts charged claimed",
		`SELECT o.key, o.upload_id, b.digest, o.seq, o.size, o.writer_until, o.delete_after, o.attempts, o.charged, o.claimed
			FROM objects o LEFT JOIN blobs b ON b.id = o.blob_id`,
	},
	{
		"content", "blob manifest size touched hidden",
		`SELECT r.name || ' ' || c.digest, b.digest, m.digest, c.size, c.touched_at, c.hidden_at
			FROM repository_contents c JOIN repositories r ON r.id = c.repository_id
			LEFT JOIN blobs b ON b.id = c.blob_id LEFT JOIN manifests m ON m.id = c.manifest_id`,
	},
	{
		"manifest", "media artifact subject annotations descriptor size created payload",
		`SELECT r.name || ' ' || m.digest, m.media_type, m.artifact_type, m.subject_digest, m.annotations, m.descriptor_size, m.size, m.created_at, m.payload
			FROM manifests m JOIN repositories r ON r.id = m.repository_id`,
	},
	{
		"reference", "child",
		`SELECT r.name || ' ' || m.digest || ' ' || f.digest, CASE WHEN f.child THEN 1 ELSE 0 END
			FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id JOIN repositories r ON r.id = f.repository_id`,
	},
	{
		"tag", "manifest updated",
		`SELECT r.name || ' ' || t.name, m.digest, t.updated_at
			FROM tags t JOIN repositories r ON r.id = t.repository_id JOIN manifests m ON m.id = t.manifest_id`,
	},
	{
		"history", "digest actor",
		`SELECT r.name || ' ' || h.name || ' ' || h.changed_at, h.digest, h.actor
			FROM tag_history h JOIN repositories r ON r.id = h.repository_id`,
	},
}

// snapshot returns the rows of all tables by the name of the table and of the row: the columns by
// theirs, without those that are NULL.
func snapshot(tx *Tx) (map[string]map[string]string, error) {
	all := make(map[string]map[string]string)
	for _, t := range tables {
		rows, err := tx.query(t.query)
		if err != nil {
			return nil, err
		}
		columns := strings.Fields(t.columns)
		for rows.Next() {
			var name string
			values := make([]any, len(columns))
			dest := []any{&name}
			for i := range values {
				dest = append(dest, &values[i])
			}
			if err := rows.Scan(dest...); err != nil {
				return nil, err
			}
			row := make(map[string]string)
			for i, v := range values {
				if b, ok := v.([]byte); ok {
					v = string(b)
				}
				if v == "" {
					v = "''"
				}
				if v != nil {
					row[columns[i]] = fmt.Sprint(v)
				}
			}
			all[t.name+" "+name] = row
		}
	}
	return all, nil
}

// diff returns a line for each row that differs, sorted: "-" and the name of a removed row; "+",
// the name and all columns of a new row; else the name and the new values of the columns that
// changed. The columns are sorted; NULL is empty.
func diff(before, after map[string]map[string]string) (lines []string) {
	for name, row := range before {
		now, ok := after[name]
		if !ok {
			lines = append(lines, "-"+name)
			continue
		}
		line := name
		columns := maps.Clone(row)
		maps.Copy(columns, now)
		for _, column := range slices.Sorted(maps.Keys(columns)) {
			if row[column] != now[column] {
				line += " " + column + "=" + now[column]
			}
		}
		if line != name {
			lines = append(lines, line)
		}
	}
	for name, row := range after {
		if _, ok := before[name]; !ok {
			line := "+" + name
			for _, column := range slices.Sorted(maps.Keys(row)) {
				line += " " + column + "=" + row[column]
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

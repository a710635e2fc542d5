package sqlite_test

import (
	"errors"
	"testing"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

// TestEngine runs the suite of all engines, on a file and in memory.
func TestEngine(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{
		"file":   dbtest.File,
		"memory": func(testing.TB) string { return dbtest.Memory },
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Run(t, dbtest.Engine{
				Open: func(t testing.TB, s db.Schema) *db.DB {
					d, err := sqlite.Open(t.Context(), url(t), s, sqlite.Options{ReadConns: 2})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { d.Close() })
					return d
				},
				IsUnique:     isCode(sqlite3.SQLITE_CONSTRAINT_UNIQUE),
				IsForeignKey: isCode(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY),
			})
		})
	}
}

// isCode returns a function that reports whether an error has a result code of SQLite.
func isCode(code int) func(error) bool {
	return func(err error) bool {
		var e *driver.Error
		return errors.As(err, &e) && e.Code() == code
	}
}

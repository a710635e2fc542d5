package postgres_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/db/postgres"
	"github.com/berth-registry/berth/internal/testserver"
)

// TestEngine runs the suite of all engines, also behind a pooler.
func TestEngine(t *testing.T) {
	for name, options := range map[string]postgres.Options{
		"prepared": {Migrate: true, MaxConns: 4},
		"pooler":   {Migrate: true, MaxConns: 4, TransactionPooler: true},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Run(t, dbtest.Engine{
				Open: func(t testing.TB, s db.Schema) *db.DB {
					o := options
					url := testserver.PostgresURL(t)
					if o.TransactionPooler {
						o.MigrateURL = url
						url = testserver.PgBouncer(t, url)
					}
					d, err := postgres.Open(t.Context(), url, s, o)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { d.Close() })
					return d
				},
				IsUnique:     isCode("23505"),
				IsForeignKey: isCode("23503"),
			})
		})
	}
}

// isCode returns a function that reports whether an error has an SQLSTATE.
func isCode(code string) func(error) bool {
	return func(err error) bool {
		var e *pgconn.PgError
		return errors.As(err, &e) && e.Code == code
	}
}

package postgres

import (
	"testing"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/testserver"
)

// BenchmarkQuery reads one row by its key.
func BenchmarkQuery(b *testing.B) {
	e := openBench(b)
	for b.Loop() {
		if _, err := e.Query(b.Context(), `SELECT size FROM items WHERE name = $1`, []any{"a"}, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTx changes one row.
func BenchmarkTx(b *testing.B) {
	e := openBench(b)
	for b.Loop() {
		err := e.Tx(b.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(`UPDATE items SET size = $1 WHERE name = 'a'`, 1)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func openBench(b *testing.B) *engine {
	e, err := open(b.Context(), testserver.PostgresURL(b), testSchema(1), Options{Migrate: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	if err := e.insert("a"); err != nil {
		b.Fatal(err)
	}
	return e
}

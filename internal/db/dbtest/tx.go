package dbtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/berth-registry/berth/internal/db"
)

// testUndone checks that an error of the function undoes the transaction and is returned.
func (s *suite) testUndone() {
	s.insert("a")
	wrong := errors.New("wrong")
	err := s.tx(func(tx *db.Tx) error {
		if err := insert(tx, "b"); err != nil {
			return err
		}
		return wrong
	})
	if !errors.Is(err, wrong) {
		s.Errorf("got %v", err)
	}
	s.wantNames("a")
}

// testFailedStatement checks that a failed statement undoes the transaction, even if the function
// ignores the error.
func (s *suite) testFailedStatement() {
	s.insert("a")
	var kept *db.Tx
	err := s.tx(func(tx *db.Tx) error {
		kept = tx
		for _, name := range []string{"b", "a"} { // the second fails
			_ = insert(tx, name)
		}
		if err := insert(tx, "c"); !s.IsUnique(err) {
			s.Errorf("after the failed statement: %v", err)
		}
		return nil
	})
	if !s.IsUnique(err) {
		s.Errorf("got %v", err)
	}
	s.wantNames("a")
	if err := insert(kept, "late"); err == nil {
		s.Error("a transaction worked after its end")
	}
}

// testReturning checks that a statement makes all its changes and checks its foreign keys, even if
// only its first row is read.
func (s *suite) testReturning() {
	s.must(s.tx(func(tx *db.Tx) error {
		if n, err := tx.Exec(`INSERT INTO parents (id) VALUES (1), (2)`); n != 2 || err != nil {
			s.Errorf("inserted %d, %v", n, err)
		}
		_, err := tx.Exec(`INSERT INTO items (name, parent) VALUES ('child', 1)`)
		return err
	}))
	returned := func(query string) error {
		return s.tx(func(tx *db.Tx) error {
			var id int64
			return tx.QueryRow(query).Scan(&id)
		})
	}
	for _, query := range []string{
		`DELETE FROM parents WHERE id = 1 RETURNING id`,
		`UPDATE parents SET id = 3 WHERE id = 1 RETURNING id`,
		`INSERT INTO items (name, parent) VALUES ('orphan', 7) RETURNING id`,
		`INSERT INTO items (name, parent) VALUES ('b', 2), ('orphan', 7) RETURNING id`,
	} {
		if err := returned(query); !s.IsForeignKey(err) {
			s.Errorf("%s: got %v", query, err)
		}
	}
	s.must(returned(`INSERT INTO items (name) VALUES ('b'), ('c'), ('d') RETURNING id`))
	s.wantNames("b", "c", "child", "d")
}

// testDeferredConstraint checks that a constraint that only COMMIT checks undoes the transaction,
// and that the error is not ErrUncertain.
func (s *suite) testDeferredConstraint() {
	called := false
	err := s.tx(func(tx *db.Tx) error {
		tx.OnCommit(func() { called = true })
		_, err := tx.Exec(`INSERT INTO items (name, deferred) VALUES ('orphan', 7)`)
		return err
	})
	if !s.IsForeignKey(err) || errors.Is(err, db.ErrUncertain) || called {
		s.Errorf("got %v; OnCommit was called: %v", err, called)
	}
	s.wantNames()
}

func (s *suite) testEndedContext() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ran := false
	if err := s.db.Tx(ctx, func(*db.Tx) error { ran = true; return nil }); !errors.Is(err, context.Canceled) || ran {
		s.Errorf("got %v; the function ran: %v", err, ran)
	}
}

// testPanic checks that a panic undoes the transaction and reaches the caller of Tx with its value
// and stack.
func (s *suite) testPanic() {
	cause := errors.New("boom")
	func() {
		defer func() {
			p, ok := recover().(error)
			// The stack is that of this goroutine, or is in the error.
			if !ok || !errors.Is(p, cause) || !strings.Contains(p.Error()+string(debug.Stack()), "insertAndPanic") {
				s.Errorf("recovered %v", p)
			}
		}()
		err := s.tx(func(tx *db.Tx) error { return insertAndPanic(tx, cause) })
		s.Errorf("no panic but %v", err)
	}()
	s.insert("b")
	s.wantNames("b")
}

func insertAndPanic(tx *db.Tx, cause error) error {
	if err := insert(tx, "a"); err != nil {
		return err
	}
	panic(cause)
}

// testGoexit checks that the database still works after a function has ended its goroutine, as
// FailNow does.
func (s *suite) testGoexit() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.tx(func(tx *db.Tx) error {
			_ = insert(tx, "a")
			runtime.Goexit()
			return nil
		})
	}()
	<-ended
	s.insert("b")
	s.wantNames("b")
}

// testSerializable checks that no update is lost between concurrent transactions that read a value,
// with a lock where the engine needs one, and write a new one.
func (s *suite) testSerializable() {
	const workers, each = 8, 10
	s.must(s.tx(func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO items (name, size) VALUES ('counter', 0)`)
		return err
	}))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := s.tx(s.increment); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	s.must(s.db.QueryRow(context.Background(), `SELECT size FROM items`).Scan(&n))
	if n != workers*each {
		s.Errorf("counted to %d, want %d", n, workers*each)
	}
}

func (s *suite) increment(tx *db.Tx) error {
	var n int64
	query := `SELECT size FROM items WHERE name = 'counter'` + s.db.LockClause("FOR NO KEY UPDATE")
	if err := tx.QueryRow(query).Scan(&n); err != nil {
		return err
	}
	_, err := tx.Exec(`UPDATE items SET size = $1 WHERE name = 'counter'`, n+1)
	return err
}

// testReaders runs many readers and writers, and checks that no reader sees a part of a
// transaction.
func (s *suite) testReaders() {
	const pairs, each = 16, 20
	var wg sync.WaitGroup
	for w := range pairs {
		wg.Go(func() {
			for i := range each {
				err := s.tx(func(tx *db.Tx) error {
					if err := insert(tx, fmt.Sprintf("%d-%d-a", w, i)); err != nil {
						return err
					}
					return insert(tx, fmt.Sprintf("%d-%d-b", w, i))
				})
				if err != nil {
					s.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				if err := s.checkPairs(); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	var n int
	s.must(s.db.QueryRow(context.Background(), `SELECT COUNT(*) FROM items`).Scan(&n))
	if n != 2*pairs*each {
		s.Errorf("%d items", n)
	}
}

// checkPairs checks that the number of items is even, since transactions insert two at a time. It
// also runs queries inside a loop over the rows of another query.
func (s *suite) checkPairs() error {
	ctx := context.Background()
	var n int
	if err := s.db.QueryRow(ctx, `SELECT COUNT(*) FROM items`).Scan(&n); err != nil || n%2 != 0 {
		return fmt.Errorf("%d items: %w", n, err)
	}
	rows, err := s.db.Query(ctx, `SELECT name FROM items LIMIT 3`)
	if err != nil {
		return err
	}
	for rows.Next() {
		var name string
		var id int64
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if err := s.db.QueryRow(ctx, `SELECT id FROM items WHERE name = $1`, name).Scan(&id); err != nil {
			return err
		}
	}
	return nil
}

// testOnCommit checks that the functions of OnCommit are called in order, once, only if the
// transaction is committed, and before Tx returns.
func (s *suite) testOnCommit() {
	wrong := errors.New("wrong")
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			var calls []string
			var returned atomic.Bool
			err := s.tx(func(tx *db.Tx) error {
				for _, name := range []string{"first", "second"} {
					tx.OnCommit(func() {
						if returned.Load() {
							s.Error("called after Tx had returned")
						}
						calls = append(calls, name)
					})
				}
				if err := insert(tx, fmt.Sprint(i)); err != nil || i%2 == 0 {
					return err
				}
				return wrong
			})
			returned.Store(true)
			want := "[first second]"
			if err != nil {
				want = "[]"
			}
			if got := fmt.Sprint(calls); got != want {
				s.Errorf("after %v: %s, want %s", err, got, want)
			}
		})
	}
	wg.Wait()
}

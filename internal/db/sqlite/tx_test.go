package sqlite

import (
	sqlite3 "modernc.org/sqlite/lib"

	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

// commits counts the commits of a database and can fail them.
type commits struct {
	n    atomic.Int32
	fail map[string]error // by step, each once
}

func (c *commits) fault(step string) error {
	if step == "commit" {
		c.n.Add(1)
	}
	err := c.fail[step]
	delete(c.fail, step)
	return err
}

func TestBatchSharesCommit(t *testing.T) {
	var c commits
	onBoth(t, Options{Fault: c.fault}, func(t *testing.T, d *testDB) {
		c.n.Store(0)
		wrong := errors.New("wrong")
		leader := hold(d, func(tx *db.Tx) error { return insert(tx, "leader") })
		fns := make([]func(*db.Tx) error, 63)
		for i := range fns {
			fns[i] = func(tx *db.Tx) error {
				if err := insert(tx, fmt.Sprint(i)); err != nil {
					return err
				}
				if i%3 == 1 {
					return wrong
				}
				return nil
			}
		}
		results := behind(d, fns...)
		if err := leader.finish(); err != nil {
			t.Errorf("leader: %v", err)
		}
		want := []string{"leader"}
		for i, result := range results {
			switch err := <-result; {
			case i%3 == 1 && err != wrong:
				t.Errorf("transaction %d: got %v, want its own error", i, err)
			case i%3 != 1 && err != nil:
				t.Errorf("transaction %d: %v", i, err)
			case err == nil:
				want = append(want, fmt.Sprint(i))
			}
		}
		if got := names(t, d); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := c.n.Load(); got != 1 {
			t.Errorf("%d commits, want one", got)
		}
	})
}

func TestBatchAfterFailedFirst(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		wrong := errors.New("wrong")
		leader := hold(d, func(tx *db.Tx) error { return errors.Join(insert(tx, "leader"), wrong) })
		results := behind(d,
			func(tx *db.Tx) error { return errors.Join(insert(tx, "a"), wrong) },
			func(tx *db.Tx) error { return insert(tx, "b") },
			func(tx *db.Tx) error { return insert(tx, "b") },
			func(tx *db.Tx) error { return insert(tx, "c") })
		if err := leader.finish(); !errors.Is(err, wrong) {
			t.Errorf("leader: %v", err)
		}
		var errs []error
		for _, result := range results {
			errs = append(errs, <-result)
		}
		if !errors.Is(errs[0], wrong) || errs[1] != nil || !isUnique(errs[2]) || errs[3] != nil {
			t.Errorf("got %v", errs)
		}
		if got := names(t, d); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestMaxBatch(t *testing.T) {
	var c commits
	d := openTest(t, fileURL(t), Options{MaxBatch: 4, Fault: c.fault})
	leader := hold(d, func(tx *db.Tx) error { return insert(tx, "leader") })
	var fns []func(*db.Tx) error
	for i := range 8 {
		fns = append(fns, func(tx *db.Tx) error { return insert(tx, fmt.Sprint(i)) })
	}
	results := behind(d, fns...)
	if err := leader.finish(); err != nil {
		t.Error(err)
	}
	for _, result := range results {
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
	if got := c.n.Load(); got != 3 {
		t.Errorf("%d commits, want 3 of at most 4 transactions for 9", got)
	}
}

// A batch also ends by time: the leader of one that lasts leads only itself.
func TestBatchTime(t *testing.T) {
	var c commits
	d := openTest(t, fileURL(t), Options{Fault: c.fault})
	d.batchTime = 0
	leader := hold(d, func(tx *db.Tx) error { return insert(tx, "leader") })
	results := behind(d,
		func(tx *db.Tx) error { return insert(tx, "a") },
		func(tx *db.Tx) error { return insert(tx, "b") })
	if err := errors.Join(leader.finish(), <-results[0], <-results[1]); err != nil {
		t.Error(err)
	}
	if got := c.n.Load(); got != 3 {
		t.Errorf("%d commits, want 3", got)
	}
}

func TestContextEndsWhileWaiting(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		ctx, cancel := context.WithCancel(context.Background())
		leader := hold(d, func(tx *db.Tx) error { return insert(tx, "leader") })
		ran := false
		waiting := make(chan error, 1)
		go func() { waiting <- d.Tx(ctx, func(*db.Tx) error { ran = true; return nil }) }()
		waitFor(d, 1)
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := leader.finish(); err != nil {
			t.Error(err)
		}
		if err := d.Tx(ctx, func(*db.Tx) error { ran = true; return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		mustInsert(t, d, "next")
		if ran {
			t.Error("a function ran though its context had ended")
		}
	})
}

// A call whose context ends in the moment that it is made leader passes the leadership on.
func TestContextEndsWhenNamedLeader(t *testing.T) {
	var q queue
	first, second := &call{wake: make(chan bool, 1)}, &call{wake: make(chan bool, 1)}
	if leader, err := q.join(context.Background(), &call{}); !leader || err != nil {
		t.Fatal(leader, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error, 1)
	go func() {
		leader, err := q.join(ctx, first)
		if leader { // the wake won: lead for nobody
			q.pass()
			err = context.Canceled
		}
		results <- err
	}()
	for waiting := 0; waiting == 0; runtime.Gosched() {
		q.mu.Lock()
		waiting = len(q.waiting)
		q.mu.Unlock()
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, second)
	q.mu.Unlock()
	cancel()
	q.pass()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if leader := <-second.wake; !leader {
		t.Error("the second call was not made leader")
	}
	q.pass()
	if q.leading {
		t.Error("the queue still has a leader")
	}
}

func TestPanic(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		cause := errors.New("boom")
		try := func(name string) (err error) {
			defer func() {
				p, ok := recover().(error)
				if !ok || !errors.Is(p, cause) || !strings.Contains(p.Error(), "TestPanic") {
					err = fmt.Errorf("%s: recovered %v", name, p)
				}
			}()
			return fmt.Errorf("%s: no panic but %v", name, d.Tx(context.Background(), func(tx *db.Tx) error {
				if err := insert(tx, name); err != nil {
					return err
				}
				panic(cause)
			}))
		}
		if err := try("first"); err != nil {
			t.Error(err)
		}
		leader := hold(d, func(tx *db.Tx) error { return insert(tx, "leader") })
		follower := make(chan error, 1)
		go func() { follower <- try("follower") }()
		waitFor(d, 1)
		if err := errors.Join(leader.finish(), <-follower); err != nil {
			t.Error(err)
		}
		mustInsert(t, d, "next")
		if got := names(t, d); !slices.Equal(got, []string{"leader", "next"}) {
			t.Errorf("got %v", got)
		}
	})
}

// A function that ends its goroutine, as FailNow does, takes nobody else with it.
func TestGoexit(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		end := func(tx *db.Tx) error {
			if err := insert(tx, "gone"); err != nil {
				return err
			}
			runtime.Goexit()
			return nil
		}
		leader := hold(d, end)
		results := behind(d, func(tx *db.Tx) error { return insert(tx, "a") })
		close(leader.release)
		if err := <-results[0]; err != nil {
			t.Error(err)
		}
		// A follower ends the goroutine of its leader and, when it is run again, its own.
		leader = hold(d, func(tx *db.Tx) error { return insert(tx, "lost with its caller") })
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			d.Tx(context.Background(), end)
		}()
		waitFor(d, 1)
		close(leader.release)
		<-ended
		mustInsert(t, d, "b")
		if got := names(t, d); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("got %v", got)
		}
	})
}

// A commit may fail without having happened, and fail having happened. Both
// look the same to the callers, and those who share it share the doubt.
func TestUncertainCommit(t *testing.T) {
	for step, happened := range map[string]bool{"commit": false, "committed": true} {
		t.Run(step, func(t *testing.T) {
			c := commits{fail: map[string]error{}}
			onBoth(t, Options{Fault: c.fault}, func(t *testing.T, d *testDB) {
				cause := errors.New("input/output error")
				c.fail[step] = cause
				leader := hold(d, func(tx *db.Tx) error { return insert(tx, "a") })
				results := behind(d, func(tx *db.Tx) error { return insert(tx, "b") })
				for _, err := range []error{leader.finish(), <-results[0]} {
					if !errors.Is(err, db.ErrUncertain) || !errors.Is(err, cause) {
						t.Errorf("got %v", err)
					}
				}
				want := []string{}
				if happened {
					want = []string{"a", "b"}
				}
				if got := names(t, d); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				mustInsert(t, d, "next")
			})
		})
	}
}

func TestBeginFails(t *testing.T) {
	c := commits{fail: map[string]error{}}
	onBoth(t, Options{Fault: c.fault}, func(t *testing.T, d *testDB) {
		cause := errors.New("cannot")
		c.fail["begin"] = cause
		if err := d.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, "a") }); err != cause {
			t.Errorf("got %v", err)
		}
		mustInsert(t, d, "a")
	})
}

// What only COMMIT finds wrong hurts the one who did it.
func TestDeferredConstraint(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		leader := hold(d, func(tx *db.Tx) error { return insert(tx, "leader") })
		results := behind(d,
			func(tx *db.Tx) error {
				_, err := tx.Exec(`INSERT INTO items (name, deferred) VALUES ('orphan', 7)`)
				return err
			},
			func(tx *db.Tx) error { return insert(tx, "b") })
		if err := errors.Join(leader.finish(), <-results[1]); err != nil {
			t.Error(err)
		}
		if err := <-results[0]; !isForeignKey(err) {
			t.Errorf("got %v", err)
		}
		if got := names(t, d); len(got) != 2 {
			t.Errorf("got %v", got)
		}
	})
}

// After a failed statement nothing of the transaction is kept, even if its function does not mind.
func TestFailedStatementEndsTx(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		mustInsert(t, d, "a")
		var kept *db.Tx
		err := d.Tx(context.Background(), func(tx *db.Tx) error {
			kept = tx
			insert(tx, "b")
			insert(tx, "a") // fails
			if err := insert(tx, "c"); !isUnique(err) {
				t.Errorf("after the failed statement: %v", err)
			}
			return nil
		})
		if !isUnique(err) {
			t.Errorf("got %v", err)
		}
		if got := names(t, d); !slices.Equal(got, []string{"a"}) {
			t.Errorf("got %v", got)
		}
		if err := insert(kept, "late"); err == nil {
			t.Error("a transaction worked after its end")
		}
	})
}

// A statement whose first row alone is read has made all its changes, and its
// foreign keys were checked.
func TestReturning(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		if _, err := d.exec(`INSERT INTO parents (id) VALUES (1), (2)`); err != nil {
			t.Fatal(err)
		}
		if _, err := d.exec(`INSERT INTO items (name, parent) VALUES ('child', 1)`); err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{
			`DELETE FROM parents WHERE id = 1 RETURNING id`,
			`UPDATE parents SET id = 3 WHERE id = 1 RETURNING id`,
			`INSERT INTO items (name, parent) VALUES ('orphan', 7) RETURNING id`,
			`INSERT INTO items (name, parent) VALUES ('b', 2), ('orphan', 7) RETURNING id`,
		} {
			err := d.Tx(context.Background(), func(tx *db.Tx) error {
				var id int64
				return tx.QueryRow(query).Scan(&id)
			})
			if !isForeignKey(err) {
				t.Errorf("%s: got %v", query, err)
			}
		}
		err := d.Tx(context.Background(), func(tx *db.Tx) error {
			var id int64
			return tx.QueryRow(`INSERT INTO items (name) VALUES ('b'), ('c'), ('d') RETURNING id`).Scan(&id)
		})
		if got := names(t, d); err != nil || !slices.Equal(got, []string{"child", "b", "c", "d"}) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestRetry(t *testing.T) {
	busy := busyError(t)
	attempts := 0
	failures := 2
	fault := func(step string) error {
		if step != "begin" {
			return nil
		}
		if attempts++; attempts <= failures {
			return busy
		}
		return nil
	}
	onBoth(t, Options{Fault: fault}, func(t *testing.T, d *testDB) {
		attempts, failures = 0, 2
		mustInsert(t, d, "a")
		if attempts != 3 {
			t.Errorf("%d attempts, want 3", attempts)
		}
		attempts, failures = 0, 1000
		if err := d.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, "b") }); !errors.Is(err, busy) {
			t.Errorf("got %v", err)
		}
		if attempts != maxAttempts {
			t.Errorf("%d attempts, want %d", attempts, maxAttempts)
		}
		failures = 0
	})
}

// busyError is what SQLite answers when another process writes.
func busyError(t *testing.T) error {
	d := openTest(t, fileURL(t), Options{})
	other, err := connect(d.path, writeMode)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if _, err := other.exec(`PRAGMA busy_timeout = 0`); err != nil {
		t.Fatal(err)
	}
	var busy error
	err = d.Tx(context.Background(), func(*db.Tx) error {
		_, busy = other.exec(beginSQL)
		return nil
	})
	if err != nil || !retryable(busy) {
		t.Fatalf("got %v and %v", err, busy)
	}
	return busy
}

// Many readers and writers get along, on one connection too, and a reader
// never sees half a transaction.
func TestReadersAndWriters(t *testing.T) {
	onBoth(t, Options{ReadConns: 2}, func(t *testing.T, d *testDB) {
		d.batchTime = batchTime
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := range 20 {
					err := d.Tx(context.Background(), func(tx *db.Tx) error {
						if err := insert(tx, fmt.Sprintf("%d-%d-a", w, i)); err != nil {
							return err
						}
						return insert(tx, fmt.Sprintf("%d-%d-b", w, i))
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
			wg.Go(func() {
				for range 50 {
					var n int
					if err := d.queryRow(`SELECT COUNT(*) FROM items`).Scan(&n); err != nil || n%2 != 0 {
						t.Errorf("%d items, %v", n, err)
						return
					}
					rows, err := d.query(`SELECT name FROM items LIMIT 3`)
					if err != nil {
						t.Error(err)
						return
					}
					for rows.Next() { // a query inside the loop over another
						var name string
						var id int64
						if err := rows.Scan(&name); err != nil {
							t.Error(err)
						}
						if err := d.queryRow(`SELECT id FROM items WHERE name = $1`, name).Scan(&id); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		if got := len(names(t, d)); got != 16*20*2 {
			t.Errorf("%d items", got)
		}
	})
}

func TestClose(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		leader := hold(d, func(tx *db.Tx) error { return insert(tx, "leader") })
		results := behind(d, func(tx *db.Tx) error { return insert(tx, "a") })
		closed := make(chan error, 1)
		go func() { closed <- d.Close() }()
		for open := true; open; runtime.Gosched() {
			d.queue.mu.Lock()
			open = !d.queue.closed
			d.queue.mu.Unlock()
		}
		if err := d.Tx(context.Background(), func(*db.Tx) error { return nil }); err != db.ErrClosed {
			t.Errorf("got %v", err)
		}
		if err := errors.Join(leader.finish(), <-results[0], <-closed); err != nil {
			t.Error(err)
		}
		if err := d.queryRow(`SELECT 1`).Scan(); err != db.ErrClosed {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoRow(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, d *testDB) {
		var id int64
		if err := d.queryRow(`SELECT id FROM items`).Scan(&id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		err := d.Tx(context.Background(), func(tx *db.Tx) error {
			if err := tx.QueryRow(`SELECT id FROM items`).Scan(&id); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v", err)
			}
			return insert(tx, "a") // no row is no failure
		})
		if err != nil {
			t.Error(err)
		}
		if n, err := d.exec(`UPDATE items SET name = 'b'`); n != 1 || err != nil {
			t.Errorf("changed %d, %v", n, err)
		}
	})
}

// isUnique says whether err is a violated UNIQUE or PRIMARY KEY constraint.
func isUnique(err error) bool {
	switch resultCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return false
}

// isForeignKey says whether err is a violated foreign key: something named is
// not there, or something removed is named elsewhere.
func isForeignKey(err error) bool {
	return resultCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

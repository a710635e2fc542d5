package sqlite

import (
	sqlite3 "modernc.org/sqlite/lib"

	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

// commits counts the commits of a database and can fail them.
type commits struct {
	n    atomic.Int32
	fail map[string]error // by step; each is returned once
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
	onFileAndMemory(t, Options{Fault: c.fault}, func(t *testing.T, d *testDB) {
		c.n.Store(0)
		wrong := errors.New("wrong")
		leader := startHeld(d, func(tx *db.Tx) error { return insert(tx, "leader") })
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
		results := startBehind(d, fns...)
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
	onFileAndMemory(t, Options{}, func(t *testing.T, d *testDB) {
		wrong := errors.New("wrong")
		leader := startHeld(d, func(tx *db.Tx) error { return errors.Join(insert(tx, "leader"), wrong) })
		results := startBehind(d,
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
	leader := startHeld(d, func(tx *db.Tx) error { return insert(tx, "leader") })
	var fns []func(*db.Tx) error
	for i := range 8 {
		fns = append(fns, func(tx *db.Tx) error { return insert(tx, fmt.Sprint(i)) })
	}
	results := startBehind(d, fns...)
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

// TestBatchTime checks that a batch takes no further calls after its time limit.
func TestBatchTime(t *testing.T) {
	var c commits
	d := openTest(t, fileURL(t), Options{Fault: c.fault})
	d.maxBatchTime = 0
	leader := startHeld(d, func(tx *db.Tx) error { return insert(tx, "leader") })
	results := startBehind(d,
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
	onFileAndMemory(t, Options{}, func(t *testing.T, d *testDB) {
		ctx, cancel := context.WithCancel(context.Background())
		leader := startHeld(d, func(tx *db.Tx) error { return insert(tx, "leader") })
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

// TestContextEndsWhenNamedLeader checks that a call whose context ends just as it becomes the
// leader hands the leadership on.
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
		if leader { // it became the leader before it saw the end of ctx
			q.handOff()
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
	q.handOff()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if leader := <-second.wake; !leader {
		t.Error("the second call was not made leader")
	}
	q.handOff()
	if q.leading {
		t.Error("the queue still has a leader")
	}
}

func TestPanic(t *testing.T) {
	onFileAndMemory(t, Options{}, func(t *testing.T, d *testDB) {
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
		leader := startHeld(d, func(tx *db.Tx) error { return insert(tx, "leader") })
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

// TestGoexit checks that a function that ends its goroutine, as FailNow does, does not affect other
// calls.
func TestGoexit(t *testing.T) {
	onFileAndMemory(t, Options{}, func(t *testing.T, d *testDB) {
		end := func(tx *db.Tx) error {
			if err := insert(tx, "gone"); err != nil {
				return err
			}
			runtime.Goexit()
			return nil
		}
		leader := startHeld(d, end)
		results := startBehind(d, func(tx *db.Tx) error { return insert(tx, "a") })
		close(leader.release)
		if err := <-results[0]; err != nil {
			t.Error(err)
		}
		// A follower ends the goroutine of its leader and, when it runs again, its own.
		leader = startHeld(d, func(tx *db.Tx) error { return insert(tx, "lost with its caller") })
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

// TestUncertainCommit checks that a commit that fails with an unknown outcome, whether it happened
// or not, is ErrUncertain for all its calls.
func TestUncertainCommit(t *testing.T) {
	for step, happened := range map[string]bool{"commit": false, "committed": true} {
		t.Run(step, func(t *testing.T) {
			c := commits{fail: map[string]error{}}
			onFileAndMemory(t, Options{Fault: c.fault}, func(t *testing.T, d *testDB) {
				cause := errors.New("input/output error")
				c.fail[step] = cause
				told := 0
				leader := startHeld(d, func(tx *db.Tx) error {
					tx.OnCommit(func() { told++ })
					return insert(tx, "a")
				})
				results := startBehind(d, func(tx *db.Tx) error {
					tx.OnCommit(func() { told++ })
					return insert(tx, "b")
				})
				for _, err := range []error{leader.finish(), <-results[0]} {
					if !errors.Is(err, db.ErrUncertain) || !errors.Is(err, cause) {
						t.Errorf("got %v", err)
					}
				}
				if told != 2 {
					t.Errorf("OnCommit was called for %d of 2 that may have happened", told)
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
	onFileAndMemory(t, Options{Fault: c.fault}, func(t *testing.T, d *testDB) {
		cause := errors.New("cannot")
		c.fail["begin"] = cause
		if err := d.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, "a") }); err != cause {
			t.Errorf("got %v", err)
		}
		mustInsert(t, d, "a")
	})
}

// TestDeferredConstraint checks that a constraint that only COMMIT checks fails only the call that
// violated it.
func TestDeferredConstraint(t *testing.T) {
	onFileAndMemory(t, Options{}, func(t *testing.T, d *testDB) {
		leader := startHeld(d, func(tx *db.Tx) error { return insert(tx, "leader") })
		results := startBehind(d,
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
	onFileAndMemory(t, Options{Fault: fault}, func(t *testing.T, d *testDB) {
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

// busyError returns the error of SQLite when another process writes.
func busyError(t *testing.T) error {
	d := openTest(t, fileURL(t), Options{})
	other, err := d.connect()
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

func TestClose(t *testing.T) {
	onFileAndMemory(t, Options{}, func(t *testing.T, d *testDB) {
		leader := startHeld(d, func(tx *db.Tx) error { return insert(tx, "leader") })
		results := startBehind(d, func(tx *db.Tx) error { return insert(tx, "a") })
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

// isUnique reports whether err means that a UNIQUE or PRIMARY KEY constraint was violated.
func isUnique(err error) bool {
	switch resultCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return false
}

// isForeignKey reports whether err means that a foreign key was violated.
func isForeignKey(err error) bool {
	return resultCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// TestOnCommitOfShared checks that after a failed shared commit the functions of OnCommit are
// called only for the calls that are committed when they run again.
func TestOnCommitOfShared(t *testing.T) {
	onFileAndMemory(t, Options{}, func(t *testing.T, d *testDB) {
		var told []string
		put := func(name string) func(*db.Tx) error {
			return func(tx *db.Tx) error {
				tx.OnCommit(func() { told = append(told, name) })
				return insert(tx, name)
			}
		}
		leader := startHeld(d, put("leader"))
		results := startBehind(d, put("b"), func(tx *db.Tx) error {
			tx.OnCommit(func() { told = append(told, "orphan") })
			_, err := tx.Exec(`INSERT INTO items (name, deferred) VALUES ('orphan', 7)`)
			return err
		})
		if err := errors.Join(leader.finish(), <-results[0]); err != nil {
			t.Error(err)
		}
		if err := <-results[1]; !isForeignKey(err) {
			t.Errorf("got %v", err)
		}
		slices.Sort(told)
		if !slices.Equal(told, []string{"b", "leader"}) {
			t.Errorf("OnCommit was called for %v", told)
		}
	})
}

// TestOnCommitPanics checks that a panic in a function of OnCommit reaches the caller of its
// transaction, which is committed, and that the other calls return.
func TestOnCommitPanics(t *testing.T) {
	onFileAndMemory(t, Options{}, func(t *testing.T, d *testDB) {
		cause := errors.New("boom")
		leader := startHeld(d, func(tx *db.Tx) error { return insert(tx, "leader") })
		recovered := make(chan any, 1)
		go func() {
			defer func() { recovered <- recover() }()
			d.Tx(context.Background(), func(tx *db.Tx) error {
				tx.OnCommit(func() { panic(cause) })
				return insert(tx, "a")
			})
		}()
		waitFor(d, 1)
		if err := leader.finish(); err != nil {
			t.Error(err)
		}
		if err, ok := (<-recovered).(error); !ok || !errors.Is(err, cause) {
			t.Errorf("recovered %v", err)
		}
		mustInsert(t, d, "next")
		if got := names(t, d); !slices.Equal(got, []string{"leader", "a", "next"}) {
			t.Errorf("got %v", got)
		}
	})
}

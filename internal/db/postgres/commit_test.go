package postgres

import (
	"errors"
	"net"
	"testing"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/testserver"
)

// TestCutCommit cuts the connection during COMMIT, before or after the server got it. In both cases
// the engine finds out what happened.
func TestCutCommit(t *testing.T) {
	server := testserver.NewPostgres(t)
	for name, test := range map[string]struct {
		cut  func(client, server net.Conn, data []byte)
		runs int
	}{
		"before": {func(client, server net.Conn, data []byte) {}, 2},
		"after": {func(client, server net.Conn, data []byte) {
			client.Close()
			_, _ = server.Write(data)
			_, _ = server.Write([]byte{'X', 0, 0, 0, 4}) // the server ends when it has committed
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, url := startProxy(t, server, server.NewDatabase(t))
			e := openTest(t, url, Options{MaxConns: 1})
			if err := e.insert("first"); err != nil { // COMMIT is prepared
				t.Fatal(err)
			}
			runs, committed := 0, 0
			err := e.Tx(t.Context(), func(tx *db.Tx) error {
				runs++
				tx.OnCommit(func() { committed++ })
				if err := insert(tx, "second"); err != nil {
					return err
				}
				if runs == 1 {
					p.arm(test.cut)
				}
				return nil
			})
			if err != nil || runs != test.runs || committed != 1 {
				t.Errorf("%v after %d runs, want %d; committed %d times", err, runs, test.runs, committed)
			}
			wantNames(t, e, "first", "second")
		})
	}
}

// TestCrashDuringCommit checks that the outcome is uncertain if the server crashed before it
// answered: then it may give the transaction's identifier again.
func TestCrashDuringCommit(t *testing.T) {
	server := testserver.NewPostgres(t)
	p, url := startProxy(t, server, server.NewDatabase(t))
	e := openTest(t, url, Options{MaxConns: 1})
	if err := e.insert("first"); err != nil {
		t.Fatal(err)
	}
	runs, committed := 0, 0
	err := e.Tx(t.Context(), func(tx *db.Tx) error {
		runs++
		tx.OnCommit(func() { committed++ })
		err := insert(tx, "second")
		p.arm(func(net.Conn, net.Conn, []byte) {
			server.Stop(t, "immediate")
			server.Start(t)
		})
		return err
	})
	if !errors.Is(err, db.ErrUncertain) || runs != 1 || committed != 1 {
		t.Errorf("%v after %d runs; committed %d times", err, runs, committed)
	}
	wantNames(t, e, "first")
}

// TestLostBeforeCommit checks that a transaction runs again if its connection is lost earlier.
func TestLostBeforeCommit(t *testing.T) {
	server := testserver.NewPostgres(t)
	p, url := startProxy(t, server, server.NewDatabase(t))
	e := openTest(t, url, Options{MaxConns: 1})
	runs := 0
	err := e.Tx(t.Context(), func(tx *db.Tx) error {
		if runs++; runs == 1 {
			p.arm(func(net.Conn, net.Conn, []byte) {})
		}
		return insert(tx, "a")
	})
	if err != nil || runs != 2 {
		t.Errorf("%v after %d runs", err, runs)
	}
	p.arm(func(net.Conn, net.Conn, []byte) {})
	wantNames(t, e, "a") // a query runs again, too
}

// TestServerStops stops the server under open connections, and starts it again.
func TestServerStops(t *testing.T) {
	server := testserver.NewPostgres(t)
	e := openTest(t, server.NewDatabase(t), Options{MaxConns: 4})
	for _, mode := range []string{"fast", "immediate"} {
		if err := e.insert(mode); err != nil {
			t.Fatal(err)
		}
		server.Stop(t, mode)
		if err := e.insert("never"); !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUncertain) {
			t.Errorf("a transaction: %v", err)
		}
		if _, err := e.Query(t.Context(), `SELECT 1`, nil, 1); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("a query: %v", err)
		}
		server.Start(t)
	}
	wantNames(t, e, "fast", "immediate")
	// A server that stops in a transaction undoes it. It runs again when the server is back.
	runs := 0
	err := e.Tx(t.Context(), func(tx *db.Tx) error {
		err := insert(tx, "last")
		if runs++; runs == 1 {
			server.Stop(t, "fast")
			server.Start(t)
		}
		_, again := tx.Exec(`UPDATE items SET size = 1 WHERE name = 'last'`)
		return errors.Join(err, again)
	})
	if err != nil || runs != 2 {
		t.Errorf("%v after %d runs", err, runs)
	}
	wantNames(t, e, "fast", "immediate", "last")
}

// TestStandby checks that connections leave a server that became a standby, and that Open refuses
// one.
func TestStandby(t *testing.T) {
	server := testserver.NewPostgres(t)
	url := server.NewDatabase(t)
	e := openTest(t, url, Options{})
	server.Stop(t, "fast")
	server.WriteFile(t, "standby.signal", "")
	server.Start(t)
	const want = "is a standby"
	_, err := e.Query(t.Context(), `SELECT 1`, nil, 1)
	wantError(t, "a query", err, want, db.ErrUnavailable)
	_, err = open(t.Context(), url, testSchema(1), Options{Migrate: true})
	wantError(t, "a start", err, want, nil)
	server.Exec(t, "SELECT pg_promote()")
	if err := e.insert("a"); err != nil {
		t.Errorf("after the promotion: %v", err)
	}
}

// TestFaults checks the faults of Options.Fault, as the SQLite engine has them.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		step      string
		err       error
		uncertain bool
		there     bool
	}{
		{"begin", errWrong, false, false},
		{"commit", errWrong, true, false},
		{"commit", db.ErrNoSpace, false, false},
		{"committed", errWrong, true, true},
	} {
		f := faults{}
		e := openTest(t, testserver.PostgresURL(t), Options{MaxConns: 2, Fault: f.fail})
		f[test.step] = test.err
		called := false
		err := e.Tx(t.Context(), func(tx *db.Tx) error {
			tx.OnCommit(func() { called = true })
			return insert(tx, "a")
		})
		if !errors.Is(err, test.err) || errors.Is(err, db.ErrUncertain) != test.uncertain || called != test.uncertain {
			t.Errorf("%s: %v, OnCommit was called: %v", test.step, err, called)
		}
		if there := len(names(t, e)) == 1; there != test.there {
			t.Errorf("%s: the row is there: %v", test.step, there)
		}
		if err := e.insert("b"); err != nil {
			t.Errorf("%s: afterwards: %v", test.step, err)
		}
	}
}

// TestSynchronousStandby checks that a commit is uncertain that was not confirmed by a synchronous
// standby.
func TestSynchronousStandby(t *testing.T) {
	server := testserver.NewPostgres(t)
	e := openTest(t, server.NewDatabase(t), Options{})
	server.Stop(t, "fast")
	server.WriteFile(t, "postgresql.auto.conf", "synchronous_standby_names = 'missing'")
	server.Start(t)
	done := make(chan error, 1)
	go func() { done <- e.insert("a") }()
	for {
		select {
		case err := <-done:
			wantError(t, "the commit", err, "synchronous replication", db.ErrUncertain)
			return
		default:
			server.Exec(t, `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
		}
	}
}

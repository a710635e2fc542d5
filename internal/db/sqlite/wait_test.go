package sqlite

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

// occupy holds a connection and the slot of a scan until release is called.
func occupy(t *testing.T, d *testDB) (release func()) {
	t.Helper()
	held, done := make(chan struct{}), make(chan error)
	go func() {
		done <- d.Scan(context.Background(), `SELECT 1`, nil, func(db.Row) (bool, error) {
			<-held
			return true, nil
		})
	}()
	synctest.Wait()
	return func() {
		t.Helper()
		close(held)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestWaitsEndWithContext checks that waits for a connection, or for the slot of a scan, end when
// the context ends.
func TestWaitsEndWithContext(t *testing.T) {
	none := func(db.Row) (bool, error) { return true, nil }
	for name, wait := range map[string]func(ctx context.Context, d *testDB) error{
		"query": func(ctx context.Context, d *testDB) error { _, err := d.Query(ctx, `SELECT 1`, nil, -1); return err },
		"scan":  func(ctx context.Context, d *testDB) error { return d.Scan(ctx, `SELECT 1`, nil, none) },
		"transaction": func(ctx context.Context, d *testDB) error {
			return d.Tx(ctx, func(*db.Tx) error { return errors.New("it ran") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				urls := []string{"sqlite::memory:"}
				if name != "transaction" { // which does not wait for a reader of a file
					urls = append(urls, fileURL(t))
				}
				for _, url := range urls {
					d := openTest(t, url, Options{ReadConns: 1})
					release := occupy(t, d)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					start := time.Now()
					if err := wait(ctx, d); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
						t.Errorf("%s: got %v after %v", url, err, time.Since(start))
					}
					release()
					if err := d.queryRow(`SELECT 1`).Scan(new(int)); err != nil {
						t.Errorf("%s: afterwards: %v", url, err)
					}
					// A read that need not wait succeeds although its context has ended.
					if err := wait(ctx, d); err != nil && name != "transaction" {
						t.Errorf("%s: without a wait: %v", url, err)
					}
				}
			})
		})
	}
}

// TestScansLeaveConnections checks that queries find a connection while many scans run.
func TestScansLeaveConnections(t *testing.T) {
	d := openTest(t, fileURL(t), Options{})
	const scans = 20
	running, release, done := make(chan struct{}, scans), make(chan struct{}), make(chan error, scans)
	for range scans {
		go func() {
			done <- d.Scan(context.Background(), `SELECT 1`, nil, func(db.Row) (bool, error) {
				running <- struct{}{}
				<-release
				return true, nil
			})
		}()
	}
	for range cap(d.scanSlots) {
		<-running
	}
	if err := d.queryRow(`SELECT 1`).Scan(new(int)); err != nil {
		t.Error(err)
	}
	if n := len(running); n != 0 {
		t.Errorf("%d scans more than %d run", n, cap(d.scanSlots))
	}
	close(release)
	for range scans {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestCloseEndsWaits checks that a query that waits for a connection returns ErrClosed when the
// database is closed.
func TestCloseEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openTest(t, fileURL(t), Options{ReadConns: 1})
		release := occupy(t, d)
		waiting, closed := make(chan error, 1), make(chan error, 1)
		go func() { waiting <- d.queryRow(`SELECT 1`).Scan(new(int)) }()
		synctest.Wait()
		go func() { closed <- d.Close() }()
		if err := <-waiting; !errors.Is(err, db.ErrClosed) {
			t.Errorf("got %v", err)
		}
		release()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

package postgres

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/testserver"
)

// wantError checks that an error has a text and, if is is not nil, is that error.
func wantError(t *testing.T, what string, err error, text string, is error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || is != nil && !errors.Is(err, is) {
		t.Errorf("%s: got %v, want %q (%v)", what, err, text, is)
	}
}

// TestSettings checks the settings of each transaction, on which durability and the end of each
// wait depend.
func TestSettings(t *testing.T) {
	url := testserver.PostgresURL(t)
	for name, o := range map[string]Options{"direct": {}, "pooler": {TransactionPooler: true, MigrateURL: url}} {
		e := openTest(t, url, o)
		for setting, want := range map[string]string{
			"synchronous_commit": "on", "statement_timeout": "1min", "lock_timeout": "10s",
			"idle_in_transaction_session_timeout": "30s", "transaction_isolation": "read committed",
		} {
			var got, read string
			err := e.Tx(t.Context(), func(tx *db.Tx) error {
				if _, err := tx.Exec(`SELECT 1`); err != nil {
					return err
				}
				return tx.QueryRow(`SELECT current_setting($1)`, setting).Scan(&got)
			})
			rows, err2 := e.Query(t.Context(), `SELECT current_setting($1)`, []any{setting}, 1)
			if err := errors.Join(err, err2); err != nil || !rows.Next() || rows.Scan(&read) != nil {
				t.Fatal(err)
			}
			if got != want || read != want {
				t.Errorf("%s: %s is %s in a transaction and %s in a query, want %s", name, setting, got, read, want)
			}
		}
	}
}

// TestErrorKinds checks what errors of the server mean, and that the connection is used again.
func TestErrorKinds(t *testing.T) {
	e := openTest(t, testserver.PostgresURL(t), Options{MaxConns: 2})
	if err := e.insert("a"); err != nil {
		t.Fatal(err)
	}
	holding, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = e.Query(context.Background(), `SELECT 1`, nil, 1)
		c, err := e.connect(context.Background())
		if err != nil {
			t.Error(err)
			close(holding)
			return
		}
		defer c.close()
		err = c.run([]request{{query: beginSQL}, {query: `SELECT 1 FROM items FOR UPDATE`}}, ignoreRows)
		if err != nil {
			t.Error(err)
		}
		close(holding)
		<-release
	})
	<-holding
	pid := func() (pid int) {
		rows, err := e.Query(t.Context(), `SELECT pg_backend_pid()`, nil, 1)
		if err != nil || !rows.Next() || rows.Scan(&pid) != nil {
			t.Fatal(err)
		}
		return pid
	}
	before := pid()
	for statement, want := range map[string]error{
		`SET LOCAL lock_timeout = 1; UPDATE items SET size = 1`:         db.ErrUnavailable, // 55P03
		`SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)`:          db.ErrUnavailable, // 57014
		`SET LOCAL transaction_read_only = on; DELETE FROM items`:       db.ErrUnavailable, // 25006
		`SELECT 1; DO $$BEGIN RAISE 'x' USING ERRCODE = '53100'; END$$`: db.ErrNoSpace,
		`SELECT 1; DO $$BEGIN RAISE 'x' USING ERRCODE = '58030'; END$$`: db.ErrUnavailable,
		`SELECT 1; DO $$BEGIN RAISE 'x' USING ERRCODE = '40001'; END$$`: db.ErrUnavailable, // five times
		`SELECT 1; SELECT pg_terminate_backend(pg_backend_pid())`:       db.ErrUnavailable, // five times
		`SELECT 1; SELECT nothing`:                                      nil,
		`SELECT 1; INSERT INTO items (name) VALUES ('a')`:               nil,
	} {
		first, second, _ := strings.Cut(statement, "; ")
		err := e.Tx(t.Context(), func(tx *db.Tx) error {
			if _, err := tx.Exec(first); err != nil {
				return err
			}
			_, err := tx.Exec(second)
			return err
		})
		if err == nil || want != nil && !errors.Is(err, want) ||
			want == nil && (errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrNoSpace)) || errors.Is(err, db.ErrUncertain) {
			t.Errorf("%s: got %v, want %v", statement, err, want)
		}
		switch now := pid(); {
		case strings.Contains(statement, "read_only") || strings.Contains(statement, "terminate"):
			if now == before {
				t.Errorf("%s: the connection is still used", statement)
			}
			before = now
		case now != before:
			t.Errorf("%s: the connection is not used any more", statement)
		}
	}
	close(release)
	wg.Wait()
}

// TestInvalidText checks that text that PostgreSQL cannot hold fails its statement with an error of
// its own, and not the connection.
func TestInvalidText(t *testing.T) {
	e := openTest(t, testserver.PostgresURL(t), Options{})
	type item struct {
		Name string `json:"name"`
	}
	for _, text := range []string{"a\x00b", "a\xffb", "\xed\xa0\x80"} {
		_, err := e.Query(t.Context(), `SELECT 1 FROM items WHERE name = $1`, []any{text}, 1)
		wantError(t, "a query", err, "", db.ErrInvalidText)
		wantError(t, "a transaction", e.insert(text), "", db.ErrInvalidText)
		_, err = e.Query(t.Context(), `SELECT value FROM `+e.ListTable(1), []any{[]string{"a", text}}, -1)
		wantError(t, "a list", err, "", db.ErrInvalidText)
	}
	_, err := e.Query(t.Context(), `SELECT name FROM `+e.ListTable(1, "name text"), []any{[]item{{"\x00"}}}, -1)
	wantError(t, "a list of structs", err, "", db.ErrInvalidText)
	if _, err := e.Query(t.Context(), `SELECT 1 FROM items WHERE name = $1`, []any{"ä\u2028\U0010ffff"}, 1); err != nil {
		t.Error(err)
	}
}

// TestRetries checks that a deadlock is retried until both transactions are committed, and that a
// violated constraint is retried a few times.
func TestRetries(t *testing.T) {
	e := openTest(t, testserver.PostgresURL(t), Options{})
	for _, name := range []string{"a", "b"} {
		if err := e.insert(name); err != nil {
			t.Fatal(err)
		}
	}
	var runs atomic.Int64
	var first, both sync.WaitGroup
	first.Add(2)
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		both.Go(func() {
			met := false
			err := e.Tx(t.Context(), func(tx *db.Tx) error {
				runs.Add(1)
				for _, name := range order {
					if _, err := tx.Exec(`UPDATE items SET size = COALESCE(size, 0) + 1 WHERE name = $1`, name); err != nil {
						return err
					}
					if !met { // in its first run, each has one row before either wants the other
						met = true
						first.Done()
						first.Wait()
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	rows, err := e.Query(t.Context(), `SELECT CAST(SUM(size) AS BIGINT) FROM items`, nil, 1)
	var sum int
	if err != nil || !rows.Next() || rows.Scan(&sum) != nil || sum != 4 || runs.Load() < 3 { // 4, if both were undone
		t.Errorf("the sum is %d after %d runs, %v", sum, runs.Load(), err)
	}
	runs.Store(0)
	err = e.Tx(t.Context(), func(tx *db.Tx) error { runs.Add(1); return insert(tx, "a") })
	if code(err) != "23505" || runs.Load() != maxAttempts {
		t.Errorf("%v after %d runs", err, runs.Load())
	}
}

// TestConcurrentOpens opens an empty database many times at once.
func TestConcurrentOpens(t *testing.T) {
	url := testserver.PostgresURL(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			e, err := open(t.Context(), url, testSchema(3), Options{MaxConns: 2, Migrate: true})
			if err != nil {
				t.Error(err)
				return
			}
			e.Close()
		})
	}
	wg.Wait()
}

// TestMigrate checks which programs may migrate a database, and which may use it.
func TestMigrate(t *testing.T) {
	url := testserver.PostgresURL(t)
	for _, step := range []struct {
		program int
		options Options
		want    string // part of the error
	}{
		{1, Options{}, "no tables of a registry"},
		{1, Options{Migrate: true, TransactionPooler: true}, "database.migrate_url"},
		{1, Options{Migrate: true, TransactionPooler: true, MigrateURL: "sqlite:x"}, "the URL for migrations"},
		{1, Options{Migrate: true, TransactionPooler: true, MigrateURL: url}, ""},
		{1, Options{}, ""},
		{2, Options{}, "has schema version 1, this program needs version 2"},
		{3, Options{Migrate: true}, ""},
		{2, Options{Migrate: true}, ""},
		{1, Options{Migrate: true}, "schema version 3 and needs a program for version 2 or later, this one is for version 1"},
	} {
		e, err := open(t.Context(), url, testSchema(step.program), step.options)
		if err == nil {
			e.Close()
		}
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("program %d: %v, want %q", step.program, err, step.want)
		}
	}
}

// TestRefuses checks that a server that cannot keep the guarantees is refused.
func TestRefuses(t *testing.T) {
	server := testserver.NewPostgres(t, "fsync = off")
	_, err := open(t.Context(), server.NewDatabase(t), testSchema(1), Options{Migrate: true})
	wantError(t, "fsync", err, "fsync=off", nil)
	server.Exec(t, `CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0`)
	_, err = open(t.Context(), server.URL("ascii"), testSchema(1), Options{Migrate: true})
	wantError(t, "encoding", err, "encoding SQL_ASCII", nil)
	wantError(t, "version", checkSettings(130014, "13.14", "UTF8", "on", false), "PostgreSQL 13.14, which is too old", nil)
}

// TestPassword checks that the password comes from a file, which is read for each connection, and
// that no error shows one.
func TestPassword(t *testing.T) {
	server := testserver.NewPostgres(t)
	server.Exec(t, `CREATE ROLE with_password LOGIN PASSWORD 'hidden'`)
	server.Exec(t, `CREATE DATABASE mine OWNER with_password`)
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hidden\n")
	url := strings.Replace(server.URL("mine"), "postgres@", "with_password@", 1)
	e := openTest(t, url, Options{PasswordFile: file, MaxConns: 2})
	server.Exec(t, `ALTER ROLE with_password PASSWORD 'hidden2'`)
	drop := func() { // the server ends the connections
		server.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'with_password'`)
	}
	drop()
	_, err := e.Query(t.Context(), `SELECT 1`, nil, 1)
	wantError(t, "the old password", err, "password authentication failed", db.ErrUnavailable)
	write("hidden2\r\n")
	if err := e.insert("a"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	drop()
	_, err = e.Query(t.Context(), `SELECT 1`, nil, 1)
	wantError(t, "no file", err, "the database's password", db.ErrUnavailable)
	for _, url := range []string{
		strings.Replace(url, "with_password@", "with_password:hidden@", 1), "postgres://u:hid%zzden@h/x", "postgres://u:hi@hidden@h/x",
		"postgres://u:hidden/1@h/x", "postgres://u:hidden@h:port/x", "sqlite:hidden", "postgres://u@h/x?sslmode=hidden&password=hidden",
		"postgres://u:hidden@127.0.0.1:1/x", "postgres://u@127.0.0.1:1/x?password=hidden", "postgres://u@h/x?sslrootcert=/nowhere&password=hidden",
	} {
		_, err := open(t.Context(), url, testSchema(1), Options{})
		if err == nil || strings.Contains(err.Error(), "hid") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestStaleStatement checks that a query goes on after a migration has changed its result.
func TestStaleStatement(t *testing.T) {
	e := openTest(t, testserver.PostgresURL(t), Options{})
	if err := e.insert("a"); err != nil {
		t.Fatal(err)
	}
	read := func() error { _, err := e.Query(t.Context(), `SELECT size FROM items`, nil, -1); return err }
	if err := read(); err != nil {
		t.Fatal(err)
	}
	err := e.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(`ALTER TABLE items ALTER COLUMN size TYPE TEXT`)
		return err
	})
	if err := errors.Join(err, read()); err != nil {
		t.Error(err)
	}
}

// TestScanPanics checks that a connection whose scan panicked is not used again.
func TestScanPanics(t *testing.T) {
	e := openTest(t, testserver.PostgresURL(t), Options{MaxConns: 1})
	func() {
		defer func() {
			if recover() != errWrong {
				t.Error("no panic")
			}
		}()
		_ = e.Scan(t.Context(), `SELECT generate_series(1, 100)`, nil, func(db.Row) (bool, error) { panic(errWrong) })
	}()
	if err := e.insert("a"); err != nil {
		t.Error(err)
	}
}

// writes counts what is written to a connection.
type writes struct {
	net.Conn
	n int
}

func (w *writes) Write(p []byte) (int, error) { w.n++; return w.Conn.Write(p) }

// TestRoundTrips counts the round trips of a query and of a transaction whose statements are
// prepared.
func TestRoundTrips(t *testing.T) {
	e := openTest(t, testserver.PostgresURL(t), Options{MaxConns: 1})
	w := &writes{Conn: e.pool.free[0].link.Conn}
	e.pool.free[0].link.Conn = w
	count := func(f func() error) int {
		w.n = 0
		if err := f(); err != nil {
			t.Fatal(err)
		}
		return w.n
	}
	for range 2 {
		query := count(func() error { _, err := e.Query(t.Context(), `SELECT $1`, []any{"a"}, -1); return err })
		tx := count(func() error {
			return e.Tx(t.Context(), func(tx *db.Tx) error {
				for range 2 {
					if _, err := tx.Exec(`INSERT INTO items (name) VALUES ($1) ON CONFLICT DO NOTHING`, "a"); err != nil {
						return err
					}
				}
				return nil
			})
		})
		t.Logf("query %d, transaction %d", query, tx)
		if w.n = 0; query == 1 && tx == 3 {
			return
		}
	}
	t.Error("more than one round trip a query, or three a transaction of two statements")
}

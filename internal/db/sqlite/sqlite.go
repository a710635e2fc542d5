package sqlite

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/durable"
)

// What is SQLite's own stands in this file: how a database is named, made and
// opened, and what its errors mean.

const (
	beginSQL      = `BEGIN IMMEDIATE`
	commitSQL     = `COMMIT`
	rollbackSQL   = `ROLLBACK`
	savepointSQL  = `SAVEPOINT s`
	releaseSQL    = `RELEASE s`
	rollbackToSQL = `ROLLBACK TO s`
	hasTableSQL   = `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)`
)

// mode is what a connection may do.
type mode int

const (
	writeMode  mode = iota
	readMode        // a reader beside a writer of this process
	backupMode      // opens the file itself for reading only
)

// ParseURL returns the absolute path of the file that a database URL names, or "" for one in
// memory.
func ParseURL(url string) (path string, err error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	switch {
	case !ok || path == "":
		return "", fmt.Errorf("database URL %q: want sqlite:<path of a file>, or sqlite::memory: for none", url)
	case path == ":memory:":
		return "", nil
	}
	return filepath.Abs(path)
}

// createFile makes the file of a database, readable by its owner alone, with
// the directories above it, so that neither is lost with the power. An
// existing file is not even opened: closing it would take away the locks that
// SQLite holds on it elsewhere in this process.
func createFile(path string) error {
	dir := filepath.Dir(path)
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
	case err != nil:
		return err
	default:
		if err := f.Close(); err != nil {
			return err
		}
	}
	// Also when the file was there: the process that made it may have died before this.
	return durable.SyncDir(dir)
}

// connect opens a connection to the database at path, or to a new one in memory if it is "".
func connect(path string, m mode) (*conn, error) {
	connector, err := sqlite.NewConnector(dsn(path, m))
	if err != nil {
		return nil, err
	}
	c, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}

// dsn is the data source name of a connection, which sets all that SQLite keeps per connection.
func dsn(path string, m mode) string {
	q := url.Values{
		"_dqs":      {"0"}, // a "misspelt" column is an error and not a string
		"_error_rc": {"1"},
		"_pragma": {
			"busy_timeout(5000)", // ms; for other processes, this one has a single writer
			"foreign_keys(ON)",
			"trusted_schema(OFF)",
			"temp_store(MEMORY)",
			"cache_size(-4096)", // KiB per connection; four times as much was no faster
		},
	}
	add := func(pragmas ...string) { q["_pragma"] = append(q["_pragma"], pragmas...) }
	switch m {
	case writeMode:
		add("journal_mode(WAL)",
			"synchronous(FULL)",            // each commit syncs the log
			"wal_autocheckpoint(4000)",     // pages of 4 KiB; those that change all the time are copied less often
			"journal_size_limit(67108864)") // bytes that a log which grew beside a long reader shrinks to
	case readMode:
		// No mmap_size: a point query among 50,000 rows would take a third less time, but when the
		// disk cannot be read the process would die of it instead of reporting it.
		add("synchronous(FULL)", "query_only(ON)")
	case backupMode:
		add("synchronous(FULL)")
	}
	if path == "" {
		return ":memory:?" + q.Encode()
	}
	q.Set("mode", "rw")
	if m == backupMode {
		q.Set("mode", "ro")
	}
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/x
	}
	return "file:" + (&url.URL{Path: slashed}).EscapedPath() + "?" + q.Encode()
}

// resultCode returns SQLite's extended result code of an error, or 0.
func resultCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// classify wraps an error that means a full disk in db.ErrNoSpace.
func wrapNoSpace(err error) error {
	if err == nil || errors.Is(err, db.ErrNoSpace) {
		return err
	}
	switch code := resultCode(err); {
	case code&0xff == sqlite3.SQLITE_FULL,
		code == sqlite3.SQLITE_IOERR_SHMSIZE, // the file shared by the connections could not grow
		errors.Is(err, syscall.ENOSPC),
		errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", db.ErrNoSpace, err)
	}
	return err
}

// retryable reports whether a transaction that failed with err may succeed when it is run again. In
// SQLite transactions run one by one, so that a violated constraint is no race and would only be
// violated again.
func retryable(err error) bool {
	switch resultCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	var shared *sharedError
	return errors.As(err, &shared)
}

// failed reports whether a COMMIT that returned err certainly did not happen.
// A full disk is certain: the frame that commits is the last one written.
func notCommitted(err error) bool {
	switch resultCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_ERROR:
		return true
	}
	return errors.Is(err, db.ErrNoSpace)
}

// ended reports whether a ROLLBACK failed because SQLite had rolled back by itself, as it does on a
// full disk.
func alreadyRolledBack(err error) bool {
	return resultCode(err) == sqlite3.SQLITE_ERROR && strings.Contains(err.Error(), "no transaction is active")
}

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

// This file holds what is specific to SQLite: URLs, files, pragmas and result codes.

const (
	beginSQL      = `BEGIN IMMEDIATE`
	commitSQL     = `COMMIT`
	rollbackSQL   = `ROLLBACK`
	savepointSQL  = `SAVEPOINT s`
	releaseSQL    = `RELEASE s`
	rollbackToSQL = `ROLLBACK TO s`
	hasTableSQL   = `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)`
)

// mode selects what a connection may do.
type mode int

const (
	writeMode  mode = iota
	readMode        // only queries; the file is open for writing, as WAL needs it
	backupMode      // the file is open for reading only
)

// ParseURL returns the absolute path of the file that a database URL names, or "" for a database in
// memory. A URL with a host is an error. There are no parameters: a ? is part of the name.
func ParseURL(url string) (path string, err error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	switch {
	case !ok || path == "", strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///"):
		return "", fmt.Errorf("database URL %q: want sqlite:<path of a file>, or sqlite::memory: for none", url)
	case path == ":memory:":
		return "", nil
	}
	return filepath.Abs(path)
}

// createFile creates the file of a database and missing parent directories, accessible only to the
// owner and durable. An existing file is not opened: closing it would release the locks that SQLite
// holds on it elsewhere in this process.
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
	// Also for an existing file: the process that created it may have died before this.
	return durable.SyncDir(dir)
}

// connect opens a connection to the database at path, or to a new one in memory if path is "".
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

// dsn returns the data source name of a connection, with all settings that SQLite keeps for each.
func dsn(path string, m mode) string {
	q := url.Values{
		"_dqs":      {"0"}, // a "misspelt" column is an error, not a string
		"_error_rc": {"1"},
		"_pragma": {
			"busy_timeout(5000)", // ms, to wait for other processes: this one has a single writer
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
			"secure_delete(FAST)",          // a removed password hash is overwritten, in pages that are written anyway
			"wal_autocheckpoint(4000)",     // pages of 4 KiB; pages that change often are copied less
			"journal_size_limit(67108864)") // bytes; truncates a log that grew beside a long reader
	case readMode:
		// No mmap_size: a point query among 50,000 rows would take a third less time, but an error
		// of the disk would kill the process instead of failing the query.
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

// explainDenied adds to an error of opening a database which of its files this process may not use,
// who owns it, and what to do. SQLite says only that it could not open or write one.
func explainDenied(url string, err error) error {
	path, wrong := ParseURL(url)
	if wrong != nil || path == "" {
		return err
	}
	switch resultCode(err) & 0xff {
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
	default:
		if !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	if info, wrong := os.Stat(path); wrong == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory, expected the file of the database: %w", path, err)
	}
	if why := durable.Denied(filepath.Dir(path), path, path+"-wal", path+"-shm"); why != "" {
		return fmt.Errorf("%s (%w)", why, err)
	}
	return err
}

// wrapNoSpace wraps an error that means a full disk in db.ErrNoSpace, and returns others unchanged.
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

// wrapFault is wrapNoSpace, and wraps an error that another fault of the disk, of the machine or of
// another process causes in db.ErrUnavailable. Damage of the file is not one: it does not pass.
func wrapFault(err error) error {
	err = wrapNoSpace(err)
	if err == nil || errors.Is(err, db.ErrNoSpace) || errors.Is(err, db.ErrUnavailable) {
		return err
	}
	switch resultCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, // locks
		sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
		sqlite3.SQLITE_NOMEM:
		return fmt.Errorf("%w: %w", db.ErrUnavailable, err)
	}
	return err
}

// retryable reports whether a transaction that failed with err may succeed when it runs again. A
// violated constraint is not retryable: transactions in SQLite run one after the other, so the
// constraint would be violated again.
func retryable(err error) bool {
	switch resultCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	var shared *sharedError
	return errors.As(err, &shared)
}

// notCommitted reports whether a COMMIT that returned err certainly did not happen. With a full
// disk it did not: the frame of the log that commits is written last.
func notCommitted(err error) bool {
	switch resultCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_ERROR:
		return true
	}
	return errors.Is(err, db.ErrNoSpace)
}

// alreadyRolledBack reports whether a ROLLBACK failed with err because SQLite had already rolled
// back by itself, as it does on a full disk.
func alreadyRolledBack(err error) bool {
	return resultCode(err) == sqlite3.SQLITE_ERROR && strings.Contains(err.Error(), "no transaction is active")
}

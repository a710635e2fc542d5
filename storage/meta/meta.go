// Package meta keeps the rows of the registry: everything that is true about
// its bytes. It is the only package that speaks SQL.
//
// A reader sees the last commit, without waiting for writers. A write
// transaction (DB.Tx) is alone: it sees all that was committed before it, and
// when Tx returns nil it survives the loss of power. Transactions that wait
// together share one commit.
//
// What is not there is reported as fs.ErrNotExist, a full disk as ErrNoSpace.
package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configure Open. The zero value is what a server uses.
type Options struct {
	// ReadConns is how many connections serve readers; 0 means 4. An
	// in-memory database has one connection whatever is said here.
	ReadConns int
	// MaxBatch is how many transactions may share one commit; 0 means 256.
	MaxBatch int
	// Fault, when set, is called before each step of a commit and may fail it, for tests:
	//   - "begin": the transaction does not begin,
	//   - "commit": the commit fails and did not happen,
	//   - "committed": the commit fails although it happened.
	// Faults of the last two reach the caller as ErrUncertain, but for an
	// ErrNoSpace at "commit", which is never in doubt.
	Fault func(step string) error
}

var (
	// ErrNoSpace says that the disk of the database is full. Nothing was changed.
	ErrNoSpace = errors.New("no space left for the database")
	// ErrUncertain says that the connection failed during COMMIT, so that
	// the transaction may or may not have happened. A later transaction
	// that reads what this one wrote knows for sure.
	ErrUncertain = errors.New("the transaction may or may not have been committed")
	// ErrClosed says that the database was closed.
	ErrClosed = errors.New("the database is closed")
)

// querier is what a Tx and a DB have in common. Statements are prepared once
// per connection and kept by their text, so the texts must be literals: what
// varies is an argument (many values travel as one JSON array).
type querier interface {
	// queryRow runs a query for its first row. Without one, Scan answers fs.ErrNotExist.
	queryRow(query string, args ...any) row
	// query runs a query and reads its rows into memory: whoever iterates
	// over them holds no connection, but should ask for a bounded number.
	query(query string, args ...any) (*rows, error)
}

var (
	_ querier = (*DB)(nil)
	_ querier = (*Tx)(nil)
)

// DB is an open database. It is safe for use by many goroutines.
type DB struct {
	path    string // of the database file, "" in memory
	memory  bool   // there is one connection, that of readers, for everything
	readers *pool
	scans   chan struct{} // has an element for each scan that runs; half of the readers are for others
	queue   queue
	connect func() (*conn, error) // opens a writer
	writer  *conn                 // owned by the leader of the queue; nil when it is to be opened

	versions  *versions
	maxBatch  int
	batchTime time.Duration
	fault     func(step string) error
	metrics   *metrics
}

// Open opens the database that url names, "sqlite:<path>" or
// "sqlite::memory:", makes it if need be, and brings its schema up to date.
// It refuses a database that asks for a newer program.
func Open(ctx context.Context, url string, o Options) (*DB, error) {
	m, err := embedded()
	if err != nil {
		return nil, err
	}
	db, err := open(ctx, url, o, m)
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", url, err)
	}
	return db, nil
}

func open(ctx context.Context, url string, o Options, m migrations) (*DB, error) {
	if o.ReadConns <= 0 {
		o.ReadConns = 4
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = 256
	}
	path, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	db := &DB{
		path: path, memory: path == "",
		scans:    make(chan struct{}, max(o.ReadConns/2, 1)),
		versions: newVersions(), maxBatch: o.MaxBatch, batchTime: batchTime, fault: o.Fault, metrics: newMetrics(),
	}
	if !db.memory {
		if err := createFile(path); err != nil {
			return nil, classify(err)
		}
	}
	db.connect = func() (*conn, error) { return connect(path, writeMode) }
	c, err := db.connect()
	if err != nil {
		return nil, classify(err)
	}
	if err := m.run(ctx, c); err != nil {
		return nil, errors.Join(classify(err), c.close())
	}
	if db.memory {
		db.readers = newPool(1, db.connect)
		db.readers.adopt(c)
	} else {
		db.readers = newPool(o.ReadConns, func() (*conn, error) { return connect(path, readMode) })
		db.writer = c
	}
	return db, nil
}

// Close waits for the transactions and queries that run or wait, and closes
// every connection. Later calls answer ErrClosed.
func (db *DB) Close() error {
	if !db.queue.close() {
		return nil
	}
	err := db.readers.close()
	// The writer goes last: whoever closes last folds the write-ahead log
	// into the database, which a reader may not do.
	if db.writer != nil {
		err = errors.Join(err, db.writer.close())
		db.writer = nil
	}
	return err
}

// Collectors returns the metrics of this database, to be registered once.
func (db *DB) Collectors() []prometheus.Collector { return db.metrics.collectors() }

func (db *DB) queryRow(query string, args ...any) row {
	rows, err := db.read(query, args, 1)
	return firstRow(rows, err)
}

func (db *DB) query(query string, args ...any) (*rows, error) {
	return db.read(query, args, -1)
}

// read runs a query on a connection of the pool and returns at most n rows, or all if n is negative.
func (db *DB) read(query string, args []any, n int) (r *rows, err error) {
	err = db.lend(func(c *conn) (err error) {
		r, err = c.query(query, args, n)
		return err
	})
	return r, err
}

// scan runs a query of many rows on a connection of the pool, as conn.scan does. The
// connection is held meanwhile: each must not wait for anything, nor use the DB. Scans
// wait for each other, so that however many there are, others find a connection.
func (db *DB) scan(query string, args []any, each func(row) (bool, error)) error {
	db.scans <- struct{}{}
	defer func() { <-db.scans }()
	return db.lend(func(c *conn) error { return c.scan(query, args, each) })
}

// lend runs f with a connection of the pool.
func (db *DB) lend(f func(*conn) error) error {
	start := time.Now()
	c, err := db.readers.get()
	if err != nil {
		return err
	}
	defer db.readers.put(c)
	if err := f(c); err != nil {
		return classify(err)
	}
	db.metrics.read.Observe(time.Since(start).Seconds())
	return nil
}

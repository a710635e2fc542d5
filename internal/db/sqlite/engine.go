// Package sqlite implements the engine of package db on SQLite.
//
// One connection writes. Transactions that wait at the same time share one commit (group commit:
// see tx.go). Readers have their own connections.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

// Options configure Open. A server uses the zero value.
type Options struct {
	// ReadConns is the number of connections for readers; 0 means 4. A database in memory always
	// has one connection.
	ReadConns int
	// MaxBatch is the maximum number of transactions that share one commit; 0 means 256.
	MaxBatch int
	// Fault is for tests. If it is set, it is called before each step of a commit, and an error
	// fails the step:
	//   - "begin": the transaction does not begin,
	//   - "commit": the commit fails and did not happen,
	//   - "committed": the commit fails although it happened.
	//
	// The last two reach the caller as ErrUncertain, except ErrNoSpace at "commit": then the commit
	// certainly did not happen.
	Fault func(step string) error
}

// engine is an open database.
type engine struct {
	memory    bool // the readers' only connection also writes
	readers   *pool
	scanSlots chan struct{} // one element for each running scan; at most half of the readers
	queue     queue
	connect   func() (*conn, error) // opens a connection that writes
	writer    *conn                 // owned by the leader of the queue; nil if it must be opened

	maxBatch     int
	maxBatchTime time.Duration
	fault        func(step string) error
	metrics      *metrics
}

// Open opens the database that url names: "sqlite:<path>" or "sqlite::memory:". It creates a
// missing file and runs the missing migrations. A database that needs a newer program is an error.
func Open(ctx context.Context, url string, s db.Schema, o Options) (*db.DB, error) {
	e, err := open(ctx, url, s, o)
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", url, explainDenied(url, err))
	}
	return db.New(e, e.metrics.collectors()...), nil
}

func open(ctx context.Context, url string, s db.Schema, o Options) (*engine, error) {
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
	e := &engine{
		memory:    path == "",
		scanSlots: make(chan struct{}, max(o.ReadConns/2, 1)),
		maxBatch:  o.MaxBatch, maxBatchTime: maxBatchTime, fault: o.Fault, metrics: newMetrics(),
	}
	if !e.memory {
		if err := createFile(path); err != nil {
			return nil, wrapNoSpace(err)
		}
	}
	e.connect = func() (*conn, error) { return connect(path, writeMode) }
	c, err := e.connect()
	if err != nil {
		return nil, wrapNoSpace(err)
	}
	if err := migrate(ctx, c, s); err != nil {
		return nil, errors.Join(wrapNoSpace(err), c.close())
	}
	if e.memory {
		e.readers = newPool(1, e.connect)
		e.readers.adopt(c)
	} else {
		e.readers = newPool(o.ReadConns, func() (*conn, error) { return connect(path, readMode) })
		e.writer = c
	}
	return e, nil
}

// Close implements db.Engine.
func (e *engine) Close() error {
	if !e.queue.close() {
		return nil
	}
	err := e.readers.close()
	// The writer is closed last: the last connection copies the write-ahead log into the database,
	// which a reader may not do.
	if e.writer != nil {
		err = errors.Join(err, e.writer.close())
		e.writer = nil
	}
	return err
}

// Exclusive implements db.Engine. A command may write to the file beside the server, but there is
// only one server, and only it writes the data that is cached.
func (e *engine) Exclusive() bool { return true }

// ListTable implements db.Engine with json_each.
func (e *engine) ListTable(n int, columns ...string) string { return listTable(n, columns) }

// LockClause implements db.Engine. Only one transaction runs at a time.
func (e *engine) LockClause(string) string { return "" }

// Clock implements db.Engine.
func (e *engine) Clock() string { return `CAST(unixepoch('subsec') * 1000000 AS INTEGER)` }

// Query implements db.Engine.
func (e *engine) Query(ctx context.Context, query string, args []any, n int) (r *db.Rows, err error) {
	err = e.withReader(ctx, func(c *conn) (err error) {
		r, err = c.query(query, args, n)
		return err
	})
	return r, err
}

// Scan implements db.Engine.
func (e *engine) Scan(ctx context.Context, query string, args []any, each func(db.Row) (bool, error)) error {
	select {
	case e.scanSlots <- struct{}{}:
	default:
		select {
		case e.scanSlots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-e.scanSlots }()
	return e.withReader(ctx, func(c *conn) error { return c.scan(query, args, each) })
}

// withReader runs f with a connection for readers.
func (e *engine) withReader(ctx context.Context, f func(*conn) error) error {
	start := time.Now()
	c, err := e.readers.get(ctx)
	if err != nil {
		return err
	}
	defer e.readers.put(c)
	if err := f(c); err != nil {
		return wrapFault(err)
	}
	e.metrics.Read.Observe(time.Since(start).Seconds())
	return nil
}

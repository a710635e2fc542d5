// Package postgres implements the engine of package db on PostgreSQL 14 or later.
//
// Transactions are READ COMMITTED, unlike those of SQLite: what a transaction decides by, it locks
// first, and what follows from rows of others is read in a later statement. A transaction runs in
// the goroutine of its caller. It is retried when it lost a race (see retryable).
//
// A statement is one round trip: it is prepared once per connection. BEGIN travels with the first
// statement of a transaction, so a transaction of n statements needs n + 1 round trips.
//
// Statements are not interrupted when their caller's context ends, which would cost the connection.
// The server's timeouts bound them.
package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/internal/db"
)

// Options configure Open.
type Options struct {
	// MaxConns is the maximum number of connections; 0 means 16. Write transactions and scans
	// together leave a quarter of them to queries.
	MaxConns int
	// TransactionPooler says that a pooler between here and the server lends a server's connection
	// for a transaction only, as PgBouncer does with pool_mode=transaction. Then statements are not
	// prepared, settings are sent with each transaction, and Migrate works over MigrateURL only.
	TransactionPooler bool
	// PasswordFile is a file with the password. It is read for each new connection. A line break at
	// its end is ignored. If it is "", the password is the URL's or comes from libpq's variables.
	PasswordFile string
	// Migrate makes Open run the missing migrations. Otherwise an old schema is an error.
	Migrate bool
	// MigrateURL is the URL that migrations use, with the same PasswordFile; "" means the
	// database's own.
	MigrateURL string
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
	pool      *pool
	scanSlots chan struct{} // one element for each running scan
	connect   func(context.Context) (*conn, error)
	fault     func(step string) error
	metrics   *db.Metrics
}

// Open opens the database that url names: "postgres://USER@HOST[,HOST]/NAME?sslmode=…". A server
// that cannot keep the guarantees of package db is an error, and so is a database that needs a
// newer program. Errors never contain the password.
func Open(ctx context.Context, url string, s db.Schema, o Options) (*db.DB, error) {
	e, err := open(ctx, url, s, o)
	if err != nil {
		return nil, err
	}
	return db.New(e, e.metrics.Collectors()...), nil
}

func open(ctx context.Context, url string, s db.Schema, o Options) (*engine, error) {
	if o.MaxConns <= 0 {
		o.MaxConns = 16
	}
	d, err := newDialer(url, o)
	if err != nil {
		return nil, err
	}
	e := &engine{
		scanSlots: make(chan struct{}, max(o.MaxConns/4, 1)),
		connect:   d.connect, fault: o.Fault, metrics: db.NewMetrics(),
	}
	first, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, first, d, s, o); err != nil {
		first.close()
		return nil, err
	}
	e.pool = newPool(o.MaxConns, d.connect)
	e.pool.adopt(first)
	return e, nil
}

// Close implements db.Engine.
func (e *engine) Close() error {
	e.pool.close()
	return nil
}

// Exclusive implements db.Engine. Any number of servers may use the database.
func (e *engine) Exclusive() bool { return false }

// ListTable implements db.Engine with an array of texts, or with JSON for structs.
func (e *engine) ListTable(n int, columns ...string) string {
	arg := "$" + strconv.Itoa(n)
	if len(columns) == 0 {
		return "unnest(" + arg + "::text[]) AS list(value)"
	}
	return "json_to_recordset(" + arg + "::json) AS list(" + strings.Join(columns, ", ") + ")"
}

// Query implements db.Engine.
func (e *engine) Query(ctx context.Context, query string, args []any, n int) (r *db.Rows, err error) {
	start := time.Now()
	err = e.withReader(ctx, false, func(c *conn) (again bool, err error) {
		r, err = c.queryAlone(query, args, n)
		return true, err
	})
	if err == nil {
		e.metrics.Read.Observe(time.Since(start).Seconds())
	}
	return r, err
}

// Scan implements db.Engine.
func (e *engine) Scan(ctx context.Context, query string, args []any, each func(db.Row) (bool, error)) error {
	if err := wait(ctx, e.scanSlots); err != nil {
		return err
	}
	defer func() { <-e.scanSlots }()
	return e.withReader(ctx, true, func(c *conn) (again bool, err error) {
		again = true
		err = c.scanAlone(query, args, func(row db.Row) (bool, error) {
			again = false
			return each(row)
		})
		return again, err
	})
}

// withReader runs f with a connection. If the connection was lost, as idle ones are when the server
// was restarted, or the statement has to be prepared again, and f reports that it may run again, it
// runs with another one.
func (e *engine) withReader(ctx context.Context, bulk bool, f func(*conn) (again bool, err error)) error {
	for attempt := 1; ; attempt++ {
		c, err := e.pool.get(ctx, bulk)
		if err != nil {
			return err
		}
		again, err := e.useReader(c, bulk, f)
		if err == nil || !again || attempt == maxAttempts || !retryable(err) {
			return wrapFault(err)
		}
	}
}

// useReader runs f, and returns the connection also if f panics.
func (e *engine) useReader(c *conn, bulk bool, f func(*conn) (bool, error)) (again bool, err error) {
	err = fmt.Errorf("the function of a scan ended its goroutine")
	defer func() { e.pool.put(c, bulk, err) }()
	again, err = f(c)
	return again, err
}

// queryAlone runs a query outside of a transaction.
func (c *conn) queryAlone(query string, args []any, n int) (r *db.Rows, err error) {
	err = c.readAlone(request{query, args}, func(rows *pgconn.ResultReader) (err error) {
		r, err = readRows(rows, n)
		return err
	})
	return r, err
}

// scanAlone runs a query outside of a transaction and calls each for every row, until there are no
// more rows or each returns false or an error.
func (c *conn) scanAlone(query string, args []any, each func(db.Row) (bool, error)) error {
	return c.readAlone(request{query, args}, func(rows *pgconn.ResultReader) error {
		return scanRows(rows, each)
	})
}

// readAlone runs a query outside of a transaction. Behind a pooler the timeouts travel with it: the
// statements of one round trip are one transaction.
func (c *conn) readAlone(r request, read func(*pgconn.ResultReader) error) error {
	if !c.pooled {
		return c.run([]request{r}, func(_ int, rows *pgconn.ResultReader) error { return read(rows) })
	}
	return c.run([]request{{query: localSettingsSQL}, r}, func(i int, rows *pgconn.ResultReader) error {
		if i == 0 {
			return nil
		}
		return read(rows)
	})
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// conn is a connection with its prepared statements. One goroutine at a time may use it.
type conn struct {
	pg         *pgconn.PgConn
	link       *link
	pooled     bool // a pooler lends it for each transaction: no statement is prepared
	statements map[string]*pgconn.StatementDescription
	server     string         // identity of the server: see identitySQL
	notice     *pgconn.Notice // the last one that the server sent
	opened     time.Time
	used       time.Time // when it was last returned to the pool; guarded by the pool's mutex
}

// request is a statement with its arguments.
type request struct {
	query string
	args  []any
}

// binaryResults is the format of all results.
var binaryResults = []int16{binaryFormat}

// run sends requests in one round trip, after one for each statement that this connection has not
// prepared yet. It calls read for the result of each; what that leaves unread is dropped. After an
// error the remaining requests do not run. A connection that was lost makes a lostError.
func (c *conn) run(requests []request, read func(i int, rows *pgconn.ResultReader) error) error {
	err := c.exchange(requests, read)
	if err != nil && c.pg.IsClosed() {
		return &lostError{err}
	}
	return err
}

func (c *conn) exchange(requests []request, read func(i int, rows *pgconn.ResultReader) error) error {
	batch := &pgconn.Batch{}
	for _, r := range requests {
		if err := c.add(batch, r); err != nil {
			return err
		}
	}
	results := c.pg.ExecBatch(context.Background(), batch)
	var failed error
	for i := 0; results.NextResult(); i++ {
		rows := results.ResultReader()
		if failed == nil {
			failed = read(i, rows)
		}
		rows.Close() // its error is also that of results
	}
	if err := results.Close(); err != nil {
		return err
	}
	return failed
}

// add adds a request to a batch.
func (c *conn) add(batch *pgconn.Batch, r request) error {
	values, formats, err := encodeArgs(r.args)
	if err != nil {
		return fmt.Errorf("%w in %q", err, r.query)
	}
	if c.pooled {
		batch.ExecParams(r.query, values, nil, formats, binaryResults)
		return nil
	}
	s, err := c.prepare(r.query)
	if err != nil {
		return err
	}
	batch.ExecStatement(s, values, formats, binaryResults)
	return nil
}

// prepare returns the prepared statement of query. It is kept as long as the connection is open.
func (c *conn) prepare(query string) (*pgconn.StatementDescription, error) {
	if s, ok := c.statements[query]; ok {
		return s, nil
	}
	s, err := c.pg.Prepare(context.Background(), "s"+strconv.Itoa(len(c.statements)), query, nil)
	if err != nil {
		return nil, fmt.Errorf("preparing %q: %w", query, err)
	}
	c.statements[query] = s
	return s, nil
}

// reusable reports whether the connection can be used again after a use that returned err.
func (c *conn) reusable(err error) bool {
	return !c.pg.IsClosed() && !c.pg.IsBusy() && c.pg.TxStatus() == 'I' && !mustReconnect(err)
}

// close closes the connection. An open transaction is undone.
func (c *conn) close() {
	c.link.limit.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.pg.Close(ctx) // an error changes nothing: it is not used again
}

// lostError is the error of a connection that ended. If it ended before COMMIT was sent, nothing
// was changed.
type lostError struct{ cause error }

func (e *lostError) Error() string {
	return "the connection to the database was lost: " + e.cause.Error()
}

func (e *lostError) Unwrap() error { return e.cause }

// link is a network connection that gives up when the server sends nothing for some time, or takes
// nothing. The server's own timeouts end statements earlier, unless it or the network is gone.
type link struct {
	net.Conn
	limit atomic.Int64 // a time.Duration; 0 means no limit
}

// Read implements net.Conn.
func (l *link) Read(p []byte) (int, error) {
	if limit := time.Duration(l.limit.Load()); limit > 0 {
		if err := l.SetReadDeadline(time.Now().Add(limit)); err != nil {
			return 0, err
		}
	}
	return l.Conn.Read(p)
}

// Write implements net.Conn.
func (l *link) Write(p []byte) (int, error) {
	if limit := time.Duration(l.limit.Load()); limit > 0 {
		if err := l.SetWriteDeadline(time.Now().Add(limit)); err != nil {
			return 0, err
		}
	}
	return l.Conn.Write(p)
}

// isTimeout reports whether err is the end of a deadline of a link.
func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

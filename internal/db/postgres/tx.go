package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/internal/db"
)

const (
	beginSQL    = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`
	commitSQL   = `COMMIT`
	rollbackSQL = `ROLLBACK`
	xidSQL      = `SELECT pg_current_xact_id()::text`

	// maxAttempts is how many times a transaction runs if its errors are retryable.
	maxAttempts = 5
	// retryWait is the longest wait before the second attempt. It doubles with each attempt.
	retryWait = 10 * time.Millisecond
)

// pooledXidSQL is xidSQL behind a pooler, where each transaction may have another server and has
// its own settings.
var pooledXidSQL = xidSQL + ", " + identitySQL + ", " + localSettings()

// Tx implements db.Engine. After fn has started, the end of ctx only prevents that it runs again.
func (e *engine) Tx(ctx context.Context, fn func(tx *db.Tx) error) error {
	start := time.Now()
	defer func() { e.metrics.Transaction.Observe(time.Since(start).Seconds()) }()
	if err := ctx.Err(); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := e.runOnce(ctx, fn)
		if err == nil || attempt == maxAttempts || !retryable(err) || errors.Is(err, db.ErrUncertain) {
			return wrapFault(err)
		}
		e.metrics.Retries.Inc()
		if err := sleep(ctx, rand.N(retryWait<<attempt)); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runOnce runs a transaction once.
func (e *engine) runOnce(ctx context.Context, fn func(tx *db.Tx) error) (err error) {
	c, err := e.pool.get(ctx, true)
	if err != nil {
		return err
	}
	t := &txConn{engine: e, conn: c, server: c.server}
	// If fn panics or ends its goroutine, the open transaction makes the connection unusable.
	err = errors.New("a transaction ended its goroutine")
	defer func() { e.pool.put(c, true, err) }()
	if err = e.injectFault("begin"); err != nil {
		return err
	}
	committed, err := db.RunTx(t, fn)
	if err != nil {
		t.rollback()
		return err
	}
	err = t.commit(ctx)
	if err == nil || errors.Is(err, db.ErrUncertain) {
		committed()
	}
	return err
}

// injectFault returns the fault that a test sets for a step.
func (e *engine) injectFault(step string) error {
	if e.fault == nil {
		return nil
	}
	return e.fault(step)
}

// txConn implements db.Conn. The transaction begins with the first statement.
type txConn struct {
	engine *engine
	conn   *conn
	begun  bool
	xid    string // the server's identifier of the transaction
	server string // identity of the server that has the transaction
}

// Exec implements db.Conn.
func (t *txConn) Exec(query string, args []any) (n int64, err error) {
	err = t.run(request{query, args}, func(rows *pgconn.ResultReader) error {
		tag, err := rows.Close()
		n = tag.RowsAffected()
		return err
	})
	return n, wrapFault(err)
}

// Query implements db.Conn.
func (t *txConn) Query(query string, args []any, n int) (r *db.Rows, err error) {
	err = t.run(request{query, args}, func(rows *pgconn.ResultReader) (err error) {
		r, err = readRows(rows, n)
		return err
	})
	return r, wrapFault(err)
}

// run runs a statement. The first one takes the beginning of the transaction with it, and the
// question for its identifier, which commit may need.
func (t *txConn) run(r request, read func(*pgconn.ResultReader) error) error {
	if t.begun {
		return t.conn.run([]request{r}, func(_ int, rows *pgconn.ResultReader) error { return read(rows) })
	}
	t.begun = true
	begin := []request{{query: beginSQL}, {query: xidSQL}, r}
	if t.conn.pooled {
		begin[1].query = pooledXidSQL
	}
	return t.conn.run(begin, func(i int, rows *pgconn.ResultReader) error {
		switch i {
		case 0:
			return nil
		case 1:
			return t.readXid(rows)
		}
		return read(rows)
	})
}

// readXid reads the result of xidSQL or pooledXidSQL.
func (t *txConn) readXid(rows *pgconn.ResultReader) error {
	for rows.NextRow() {
		values := rows.Values()
		t.xid = string(values[0])
		if len(values) > 1 {
			t.server = string(values[1])
		}
	}
	return nil
}

// rollback undoes the transaction. If that fails, the connection is not used again.
func (t *txConn) rollback() {
	if t.begun && !t.conn.pg.IsClosed() && t.conn.pg.TxStatus() != 'I' {
		_ = t.conn.run([]request{{query: rollbackSQL}}, ignoreRows)
	}
}

func ignoreRows(int, *pgconn.ResultReader) error { return nil }

// commit commits the transaction. If the connection is lost before the server has answered, it
// finds out what happened.
func (t *txConn) commit(ctx context.Context) error {
	start := time.Now()
	defer func() { t.engine.metrics.Commit.Observe(time.Since(start).Seconds()) }()
	if err := t.engine.injectFault("commit"); err != nil {
		t.rollback()
		t.conn.close()
		if errors.Is(err, db.ErrNoSpace) {
			return err
		}
		return fmt.Errorf("%w: %w", db.ErrUncertain, err)
	}
	err := t.sendCommit()
	if err == nil {
		if err := t.engine.injectFault("committed"); err != nil {
			t.conn.close()
			return fmt.Errorf("%w: %w", db.ErrUncertain, err)
		}
		return nil
	}
	if !connectionLost(err) {
		return err // the server's answer: it has undone the transaction
	}
	t.conn.close()
	return t.engine.resolve(ctx, t.xid, t.server, err)
}

// sendCommit runs COMMIT, if there is something to commit.
func (t *txConn) sendCommit() error {
	if !t.begun {
		return nil
	}
	t.conn.notice = nil
	err := t.conn.run([]request{{query: commitSQL}}, func(_ int, rows *pgconn.ResultReader) error {
		tag, err := rows.Close()
		if err == nil && tag.String() != commitSQL {
			err = fmt.Errorf("the server answered %q to COMMIT", tag)
		}
		return err
	})
	if n := t.conn.notice; err == nil && n != nil {
		// The server has committed, but gave up waiting for its synchronous standby: a failover
		// may lose the transaction.
		return fmt.Errorf("%w: %s: %s", db.ErrUncertain, n.Message, n.Detail)
	}
	return err
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/internal/db"
)

// How long and how often the outcome of a commit is asked for. A transaction whose client is gone
// ends at the latest when idleTimeout is over.
const (
	resolveTimeout = idleTimeout + 5*time.Second
	resolveFirst   = 5 * time.Millisecond
	resolveLongest = 500 * time.Millisecond
)

// errUnknown means that the server cannot tell what became of a transaction.
var errUnknown = errors.New("the server cannot tell: it was restarted after a crash, or is another one")

// resolve finds out whether a transaction was committed whose connection was lost, with the error
// cause, after COMMIT was sent. It returns nil if so, cause if it was undone, and ErrUncertain if
// nobody knows. It asks a new connection to the same server until the transaction has ended or ctx
// ends.
func (e *engine) resolve(ctx context.Context, xid, server string, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	for wait := resolveFirst; ; wait = min(2*wait, resolveLongest) {
		status, err := e.askStatus(ctx, xid, server)
		switch {
		case err == nil && status == "committed":
			return nil
		case err == nil && status == "aborted":
			return cause
		case errors.Is(err, errUnknown):
			return fmt.Errorf("%w: %w: %w", db.ErrUncertain, err, cause)
		}
		if sleep(ctx, wait) != nil {
			return fmt.Errorf("%w: %w", db.ErrUncertain, errors.Join(err, cause))
		}
	}
}

// statusSQL asks what became of a transaction.
const statusSQL = `SELECT COALESCE(pg_xact_status($1::xid8), '')`

// confirmSQL commits something, which returns when all before it is where synchronous replication
// wants it. The lost connection may have ended before its commit was.
const confirmSQL = `SELECT pg_logical_emit_message(true, 'berth', '')`

// askStatus asks the server for the status of a transaction: "committed", "aborted" or "in
// progress". An error other than errUnknown may pass.
func (e *engine) askStatus(ctx context.Context, xid, server string) (status string, err error) {
	c, err := e.connect(ctx)
	if err != nil {
		return "", err
	}
	defer c.close()
	if xid == "" || c.server != server {
		return "", errUnknown
	}
	c.link.limit.Store(int64(resolveTimeout))
	err = c.run([]request{{statusSQL, []any{xid}}}, func(_ int, rows *pgconn.ResultReader) error {
		for rows.NextRow() {
			status = string(rows.Values()[0])
		}
		return nil
	})
	switch {
	case err == nil && status == "" || err != nil && !connectionLost(err):
		return "", errUnknown // too old, or never begun
	case status == "committed":
		err = c.run([]request{{query: confirmSQL}}, ignoreRows)
	}
	return status, err
}

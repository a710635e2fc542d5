package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

const (
	// maxBatchTime is how long a batch takes further calls. It bounds how long the first call waits
	// for its commit.
	maxBatchTime = 10 * time.Millisecond
	// maxAttempts is how many times a transaction runs if its errors are retryable.
	maxAttempts = 5
)

// Group commit: transactions that wait for the connection that writes share one COMMIT. The first
// call is the leader. Its goroutine runs the functions of the other calls too, each in a savepoint,
// so that an error undoes only its own changes. If the shared transaction is lost because of one
// call, the others run again, each alone.

// Tx implements db.Engine. After fn has started, the end of ctx has no effect.
func (e *engine) Tx(ctx context.Context, fn func(tx *db.Tx) error) error {
	start := time.Now()
	defer func() { e.metrics.Transaction.Observe(time.Since(start).Seconds()) }()
	alone := false
	for attempt := 1; ; attempt++ {
		err := e.runOnce(ctx, &call{fn: fn, alone: alone, wake: make(chan bool, 1)})
		if err == nil || attempt == maxAttempts || !retryable(err) {
			return wrapFault(err)
		}
		alone = true
		e.metrics.Retries.Inc()
	}
}

// runOnce runs a call once, as the leader or by waiting for it.
func (e *engine) runOnce(ctx context.Context, c *call) error {
	leader, err := e.queue.join(ctx, c)
	if err != nil {
		return err
	}
	if leader {
		e.lead(ctx, c)
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.err
}

// lead runs a batch: the leader's own call, and the calls that wait or arrive while it runs.
func (e *engine) lead(ctx context.Context, own *call) {
	b := &batch{engine: e}
	// Deferred, because a function may end this goroutine with runtime.Goexit, as a test's FailNow
	// does. The writer must be released all the same.
	defer func() {
		b.abandon(errors.New("a transaction that shared the commit ended its goroutine"))
		b.releaseWriter()
		e.queue.handOff()
	}()
	if err := b.takeWriter(ctx); err != nil {
		b.calls = append(b.calls, own)
		b.finish(own, err)
		return
	}
	deadline := time.Now().Add(e.maxBatchTime)
	for next := own; next != nil; next = e.queue.nextFollower() {
		b.calls = append(b.calls, next)
		b.run(next)
		if own.alone || b.broken || len(b.calls) >= e.maxBatch || time.Now().After(deadline) {
			break
		}
	}
	b.commit()
}

// batch is a group of calls that share a commit. Only the leader uses it.
type batch struct {
	engine    *engine
	conn      *conn
	calls     []*call // all calls of the batch; the leader's own is the first
	succeeded []*call // calls whose changes are in the open transaction
	open      bool    // a transaction is open
	broken    bool    // the state of the connection is unknown; it must be closed
}

// sharedError is the error of a call that was undone because of another call in its batch. The call
// runs again, alone.
type sharedError struct{ cause error }

func (e *sharedError) Error() string {
	return "undone with the transactions that shared its commit: " + e.cause.Error()
}

func (e *sharedError) Unwrap() error { return e.cause }

// takeWriter sets conn to the connection that writes, and opens it if necessary.
func (b *batch) takeWriter(ctx context.Context) (err error) {
	if b.engine.memory {
		b.conn, err = b.engine.readers.get(ctx)
		return err
	}
	if b.engine.writer == nil {
		if b.engine.writer, err = b.engine.connect(); err != nil {
			return err
		}
	}
	b.conn = b.engine.writer
	return nil
}

// releaseWriter ends the use of the connection. A broken one is closed, which undoes its open
// transaction. A connection in memory is kept, because the database would be lost with it.
func (b *batch) releaseWriter() {
	switch {
	case b.conn == nil:
	case b.engine.memory:
		b.engine.readers.put(b.conn)
	case b.broken:
		b.conn.close() // an error changes nothing: it is broken already
		b.engine.writer = nil
	}
	b.conn = nil
}

// run runs the function of a call. The first one runs directly in the transaction, because a
// savepoint has a small cost. The others run in a savepoint.
func (b *batch) run(c *call) {
	if !b.open {
		if err := b.begin(); err != nil {
			b.finish(c, err)
			return
		}
	}
	nested := len(b.succeeded) > 0
	if nested {
		if _, err := b.conn.exec(savepointSQL); err != nil {
			b.abandon(err)
			return
		}
	}
	err := c.run(b.conn)
	switch {
	case err != nil || c.panicked != nil:
		b.finish(c, err)
		if nested {
			b.undoSavepoint()
		} else {
			b.rollback()
		}
		return
	case nested:
		if _, err := b.conn.exec(releaseSQL); err != nil {
			b.abandon(err)
			return
		}
	}
	b.succeeded = append(b.succeeded, c)
}

func (b *batch) begin() error {
	if err := b.injectFault("begin"); err != nil {
		return err
	}
	_, err := b.conn.exec(beginSQL)
	if err != nil {
		b.broken = true
		return err
	}
	b.open = true
	return nil
}

// undoSavepoint undoes the changes since the savepoint. After some errors SQLite has already undone
// the whole transaction, with the other calls; then the batch is abandoned.
func (b *batch) undoSavepoint() {
	_, err := b.conn.exec(rollbackToSQL)
	if err == nil {
		_, err = b.conn.exec(releaseSQL)
	}
	if err != nil {
		b.abandon(err)
	}
}

// rollback undoes the open transaction. The caller must finish the calls.
func (b *batch) rollback() {
	if !b.open {
		return
	}
	b.open, b.succeeded = false, nil
	if _, err := b.conn.exec(rollbackSQL); err != nil && !alreadyRolledBack(err) {
		b.broken = true
	}
}

// abandon undoes the transaction and lets all unfinished calls run again.
func (b *batch) abandon(cause error) {
	if b.conn != nil {
		b.rollback()
	}
	for _, c := range b.calls {
		if !c.finished {
			b.finish(c, &sharedError{cause})
		}
	}
}

// commit commits the transaction and finishes its calls.
func (b *batch) commit() {
	succeeded := b.succeeded
	if len(succeeded) == 0 {
		b.rollback()
		return
	}
	b.engine.metrics.batch.Observe(float64(len(succeeded)))
	start := time.Now()
	err := b.injectFault("commit")
	if err == nil {
		_, err = b.conn.exec(commitSQL)
		if err == nil {
			err = b.injectFault("committed")
			b.open = false
		}
	}
	b.engine.metrics.Commit.Observe(time.Since(start).Seconds())
	switch {
	case err == nil:
	case !notCommitted(err) || !b.open:
		// What the connection has cached may differ from the file, so it is not used again.
		b.rollback()
		b.broken = true
		err = fmt.Errorf("%w: %w", db.ErrUncertain, err)
	case len(succeeded) > 1:
		// One call may be the cause (a disk nearly full, a deferred constraint): each runs alone.
		b.rollback()
		err = &sharedError{err}
	default:
		b.rollback()
	}
	b.succeeded = nil
	for _, c := range succeeded {
		if err == nil || errors.Is(err, db.ErrUncertain) {
			c.runOnCommit() // before finish wakes its caller
		}
		b.finish(c, err)
	}
}

// finish sets the result of a call and wakes its caller. The leader's own caller is this goroutine.
func (b *batch) finish(c *call, err error) {
	c.err, c.finished = err, true
	if c != b.calls[0] {
		c.wake <- false
	}
}

// injectFault returns the fault that a test sets for a step.
func (b *batch) injectFault(step string) error {
	if b.engine.fault == nil {
		return nil
	}
	return b.engine.fault(step)
}

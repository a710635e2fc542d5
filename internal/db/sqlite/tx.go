package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

const (
	// batchTime ends a batch, so that its first transaction is not
	// kept from its commit by those that came later.
	maxBatchTime = 10 * time.Millisecond
	// maxAttempts is how often a transaction is run when it may be run again.
	maxAttempts = 5
)

// Group commit: transactions that wait for the writer share one commit, each in a savepoint. The
// first of them is the leader, and runs the functions of the others in its goroutine.

// Tx implements db.Engine. Once fn was started, the end of ctx changes nothing.
func (e *engine) Tx(ctx context.Context, fn func(tx *db.Tx) error) error {
	start := time.Now()
	defer func() { e.metrics.transaction.Observe(time.Since(start).Seconds()) }()
	alone := false
	for attempt := 1; ; attempt++ {
		err := e.try(ctx, &call{fn: fn, alone: alone, wake: make(chan bool, 1)})
		if err == nil || attempt == maxAttempts || !retryable(err) {
			return wrapNoSpace(err)
		}
		alone = true
		e.metrics.retries.Inc()
	}
}

// try runs a call once.
func (e *engine) try(ctx context.Context, c *call) error {
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

// lead runs a batch: the leader's own call, and those that wait or come while it runs.
func (e *engine) lead(ctx context.Context, own *call) {
	b := &batch{engine: e}
	// A function that ends its goroutine (runtime.Goexit, which a test's
	// FailNow calls) must not take the writer with it.
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

// batch is the calls that share a commit. It belongs to the leader.
type batch struct {
	engine    *engine
	conn      *conn
	calls     []*call // all that were taken from the queue
	succeeded []*call // those that ran well in the open transaction
	open      bool    // BEGIN was executed
	broken    bool    // the connection is not to be used any more
}

// sharedError is the result of a call whose transaction was undone because of another one in its
// batch. It is run again, alone.
type sharedError struct{ cause error }

func (e *sharedError) Error() string {
	return "undone with the transactions that shared its commit: " + e.cause.Error()
}

func (e *sharedError) Unwrap() error { return e.cause }

// takeWriter gets the connection that writes.
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

// giveBack ends the use of the connection. One whose state is not known is
// closed, which undoes what it had open; in memory the connection is the
// database, and is kept.
func (b *batch) releaseWriter() {
	switch {
	case b.conn == nil:
	case b.engine.memory:
		b.engine.readers.put(b.conn)
	case b.broken:
		b.conn.close() // nothing more can be done about an error
		b.engine.writer = nil
	}
	b.conn = nil
}

// run runs the function of a call: the first directly in the transaction,
// others in a savepoint, which costs a little.
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
	if err := b.inject("begin"); err != nil {
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

// undo goes back to the savepoint. Some errors make SQLite undo the whole
// transaction instead, those of the others included.
func (b *batch) undoSavepoint() {
	_, err := b.conn.exec(rollbackToSQL)
	if err == nil {
		_, err = b.conn.exec(releaseSQL)
	}
	if err != nil {
		b.abandon(err)
	}
}

// rollback undoes the transaction. Its calls must be finished by the caller.
func (b *batch) rollback() {
	if !b.open {
		return
	}
	b.open, b.succeeded = false, nil
	if _, err := b.conn.exec(rollbackSQL); err != nil && !alreadyRolledBack(err) {
		b.broken = true
	}
}

// abandon undoes the transaction because of one call. The others that took part must run again.
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

// commit makes the transactions of the batch durable and tells their callers.
func (b *batch) commit() {
	ready := b.succeeded
	if len(ready) == 0 {
		b.rollback()
		return
	}
	b.engine.metrics.batch.Observe(float64(len(ready)))
	start := time.Now()
	err := b.inject("commit")
	if err == nil {
		_, err = b.conn.exec(commitSQL)
		if err == nil {
			err = b.inject("committed")
			b.open = false
		}
	}
	b.engine.metrics.commit.Observe(time.Since(start).Seconds())
	switch {
	case err == nil:
	case !notCommitted(err) || !b.open:
		// The connection's own idea of what was written is not to be trusted either.
		b.rollback()
		b.broken = true
		err = fmt.Errorf("%w: %w", db.ErrUncertain, err)
	case len(ready) > 1:
		// One may have been too much (a disk nearly full, a deferred constraint): each for itself.
		b.rollback()
		err = &sharedError{err}
	default:
		b.rollback()
	}
	b.succeeded = nil
	for _, c := range ready {
		if err == nil || errors.Is(err, db.ErrUncertain) {
			c.runOnCommit() // before its caller is woken
		}
		b.finish(c, err)
	}
}

// finish gives a call its result and wakes its caller, unless that is the leader itself.
func (b *batch) finish(c *call, err error) {
	c.err, c.finished = err, true
	if c != b.calls[0] {
		c.wake <- false
	}
}

// inject calls the tests' fault point.
func (b *batch) inject(step string) error {
	if b.engine.fault == nil {
		return nil
	}
	return b.engine.fault(step)
}

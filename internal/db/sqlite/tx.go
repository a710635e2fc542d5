package meta

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	// batchTime ends a batch, so that its first transaction is not
	// kept from its commit by those that came later.
	batchTime = 10 * time.Millisecond
	// maxAttempts is how often a transaction is run when it may be run again.
	maxAttempts = 5
)

// Tx is a running write transaction. It is for the goroutine that its function runs in.
//
// After a statement has failed the transaction is over: the rest of its
// statements fail alike, and DB.Tx answers with that error even if the
// function does not.
type Tx struct {
	conn    *conn    // nil when the function has returned
	err     error    // of the first statement that failed
	changed []string // repositories that the function took, presumably to change them
}

var errTxDone = errors.New("the transaction's function has returned")

// Tx runs fn in a write transaction. It returns nil when the transaction is
// durable, and otherwise the error of fn, all changes undone. Only after
// ErrUncertain are they perhaps made.
//
// Transactions that wait for the writer share one commit, each in a savepoint;
// fn may run in the goroutine of another caller, and more than once, so it must
// set all that it captured anew. It must not call the DB that it runs in. If it
// panics, Tx does.
//
// When ctx ends before fn was started, Tx returns its error and fn is never
// run; afterwards ctx changes nothing.
func (db *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	start := time.Now()
	defer func() { db.metrics.transaction.Observe(time.Since(start).Seconds()) }()
	alone := false
	for attempt := 1; ; attempt++ {
		err := db.try(ctx, &call{fn: fn, alone: alone, wake: make(chan bool, 1)})
		if err == nil || attempt == maxAttempts || !retryable(err) {
			return classify(err)
		}
		alone = true
		db.metrics.retries.Inc()
	}
}

// try runs a call once.
func (db *DB) try(ctx context.Context, c *call) error {
	leader, err := db.queue.join(ctx, c)
	if err != nil {
		return err
	}
	if leader {
		db.lead(c)
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.err
}

// lead runs a batch: the leader's own call, and those that wait or come while it runs.
func (db *DB) lead(own *call) {
	b := &batch{db: db}
	// A function that ends its goroutine (runtime.Goexit, which a test's
	// FailNow calls) must not take the writer with it.
	defer func() {
		b.abandon(errors.New("a transaction that shared the commit ended its goroutine"))
		b.giveBack()
		db.queue.pass()
	}()
	if err := b.takeWriter(); err != nil {
		b.calls = append(b.calls, own)
		b.finish(own, err)
		return
	}
	deadline := time.Now().Add(db.batchTime)
	for next := own; next != nil; next = db.queue.follower() {
		b.calls = append(b.calls, next)
		b.run(next)
		if own.alone || b.broken || len(b.calls) >= db.maxBatch || time.Now().After(deadline) {
			break
		}
	}
	b.commit()
}

// batch is the calls that share a commit. It belongs to the leader.
type batch struct {
	db     *DB
	conn   *conn
	calls  []*call // all that were taken from the queue
	ready  []*call // those that ran well in the open transaction
	open   bool    // BEGIN was executed
	broken bool    // the connection is not to be used any more
}

// sharedError is what a call gets whose transaction was undone because of
// another one in its batch. It is run again, alone.
type sharedError struct{ cause error }

func (e *sharedError) Error() string {
	return "undone with the transactions that shared its commit: " + e.cause.Error()
}

func (e *sharedError) Unwrap() error { return e.cause }

// panicError carries a panic of a transaction's function to the goroutine of its caller.
type panicError struct {
	value any
	stack []byte // of the goroutine where it happened
}

func (e *panicError) Error() string {
	return fmt.Sprintf("in a transaction: %v\n%s", e.value, e.stack)
}

func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// takeWriter gets the connection that writes.
func (b *batch) takeWriter() (err error) {
	if b.db.memory {
		b.conn, err = b.db.readers.get()
		return err
	}
	if b.db.writer == nil {
		if b.db.writer, err = b.db.connect(); err != nil {
			return err
		}
	}
	b.conn = b.db.writer
	return nil
}

// giveBack ends the use of the connection. One whose state is not known is
// closed, which undoes what it had open; in memory the connection is the
// database, and is kept.
func (b *batch) giveBack() {
	switch {
	case b.conn == nil:
	case b.db.memory:
		b.db.readers.put(b.conn)
	case b.broken:
		b.conn.close() // nothing more can be done about an error
		b.db.writer = nil
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
	nested := len(b.ready) > 0
	if nested {
		if _, err := b.conn.exec(savepointSQL); err != nil {
			b.abandon(err)
			return
		}
	}
	tx := &Tx{conn: b.conn}
	err := c.run(tx)
	tx.conn = nil
	c.changed = tx.changed
	if err == nil {
		err = tx.err
	}
	switch {
	case err != nil || c.panicked != nil:
		b.finish(c, err)
		if nested {
			b.undo()
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
	b.ready = append(b.ready, c)
}

// run calls the function of a call. A panic becomes a part of the result.
func (c *call) run(tx *Tx) error {
	defer func() {
		if v := recover(); v != nil {
			c.panicked = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return c.fn(tx)
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
func (b *batch) undo() {
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
	b.open, b.ready = false, nil
	if _, err := b.conn.exec(rollbackSQL); err != nil && !ended(err) {
		b.broken = true
	}
}

// abandon undoes the transaction because of one call; whoever else took part must run again.
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
	ready := b.ready
	if len(ready) == 0 {
		b.rollback()
		return
	}
	b.db.metrics.batch.Observe(float64(len(ready)))
	start := time.Now()
	err := b.inject("commit")
	if err == nil {
		_, err = b.conn.exec(commitSQL)
		if err == nil {
			err = b.inject("committed")
			b.open = false
		}
	}
	b.db.metrics.commit.Observe(time.Since(start).Seconds())
	switch {
	case err == nil:
	case !failed(err) || !b.open:
		// The connection's own idea of what was written is not to be trusted either.
		b.rollback()
		b.broken = true
		err = fmt.Errorf("%w: %w", ErrUncertain, err)
	case len(ready) > 1:
		// One may have been too much (a disk nearly full, a deferred constraint): each for itself.
		b.rollback()
		err = &sharedError{err}
	default:
		b.rollback()
	}
	b.ready = nil
	for _, c := range ready {
		b.db.versions.change(c.changed) // before anyone hears of it
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
	if b.db.fault == nil {
		return nil
	}
	return b.db.fault(step)
}

func (tx *Tx) exec(query string, args ...any) (int64, error) {
	if err := tx.usable(); err != nil {
		return 0, err
	}
	n, err := tx.conn.exec(query, args...)
	return n, tx.fail(err)
}

func (tx *Tx) queryRow(query string, args ...any) row {
	return firstRow(tx.read(query, args, 1))
}

func (tx *Tx) query(query string, args ...any) (*rows, error) {
	return tx.read(query, args, -1)
}

// read returns at most n rows, or all if n is negative.
func (tx *Tx) read(query string, args []any, n int) (*rows, error) {
	if err := tx.usable(); err != nil {
		return nil, err
	}
	r, err := tx.conn.query(query, args, n)
	return r, tx.fail(err)
}

func (tx *Tx) usable() error {
	if tx.conn == nil {
		return errTxDone
	}
	return tx.err
}

// fail remembers the error of a statement.
func (tx *Tx) fail(err error) error {
	if err != nil {
		tx.err = classify(err)
	}
	return tx.err
}

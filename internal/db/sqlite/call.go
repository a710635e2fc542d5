package sqlite

import (
	"fmt"
	"runtime/debug"

	"github.com/berth-registry/berth/internal/db"
)

// call is one run of a function in a write transaction.
type call struct {
	fn    func(*db.Tx) error
	alone bool // must not share its commit

	// wake receives true when the call becomes the leader. It receives false when the call is
	// finished and the fields below hold its result.
	wake      chan bool
	committed func() // from db.RunTx; owned by the leader
	err       error
	panicked  *panicError
	finished  bool // owned by the leader
}

// run runs the function in the transaction of conn.
func (c *call) run(conn *conn) (err error) {
	defer c.recoverPanic()
	c.committed, err = db.RunTx(txConn{conn}, c.fn)
	return err
}

// runOnCommit calls the functions of OnCommit.
func (c *call) runOnCommit() {
	defer c.recoverPanic()
	c.committed()
}

// recoverPanic stores a panic in the result. It must be deferred.
func (c *call) recoverPanic() {
	if v := recover(); v != nil {
		c.panicked = &panicError{value: v, stack: debug.Stack()}
	}
}

// panicError carries a panic from the leader's goroutine to the caller of Tx.
type panicError struct {
	value any
	stack []byte // of the goroutine that panicked
}

func (e *panicError) Error() string {
	return fmt.Sprintf("in a transaction: %v\n%s", e.value, e.stack)
}

func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

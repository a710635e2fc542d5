package sqlite

import (
	"fmt"
	"runtime/debug"

	"github.com/berth-registry/berth/internal/db"
)

// call is a function that waits to run in a write transaction.
type call struct {
	fn    func(*db.Tx) error
	alone bool // shares no commit with others

	// wake receives true when the caller is now the leader. It receives false when the function has
	// run, or will not run any more, and the fields below hold the result.
	wake      chan bool
	committed func() // owned by the leader: to be called when the transaction is committed
	err       error
	panicked  *panicError
	finished  bool // owned by the leader
}

// run calls the function of a call.
func (c *call) run(conn *conn) (err error) {
	defer c.recoverPanic()
	c.committed, err = db.RunTx(txConn{conn}, c.fn)
	return err
}

// commit calls the functions of OnCommit: the call is committed, or may be.
func (c *call) runOnCommit() {
	defer c.recoverPanic()
	c.committed()
}

// keepPanic makes a panic a part of the result.
func (c *call) recoverPanic() {
	if v := recover(); v != nil {
		c.panicked = &panicError{value: v, stack: debug.Stack()}
	}
}

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

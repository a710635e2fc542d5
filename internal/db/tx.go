package db

import "errors"

// Conn is the connection that a transaction runs on.
type Conn interface {
	// Exec runs a statement and returns the number of rows that it changed.
	Exec(query string, args []any) (int64, error)
	// Query runs a query and returns at most its first n rows, or all if n is negative. A statement
	// with RETURNING makes all its changes before it returns its first row.
	Query(query string, args []any, n int) (*Rows, error)
}

// Tx is a running write transaction. Only the goroutine that runs its function may use it.
//
// After a statement has failed, all later statements fail with the same error. DB.Tx returns that
// error even if the function returns nil.
type Tx struct {
	conn     Conn  // nil after the function has returned
	err      error // the error of the first statement that failed
	onCommit []func()
}

var errTxDone = errors.New("the transaction's function has returned")

// RunTx runs fn with a Tx whose statements conn executes. The engine begins and ends the
// transaction. The error is that of fn, or of a statement that failed. The engine calls committed
// if the transaction is committed or may be, before DB.Tx returns.
func RunTx(conn Conn, fn func(tx *Tx) error) (committed func(), err error) {
	tx := &Tx{conn: conn}
	defer func() { tx.conn = nil }()
	if err = fn(tx); err == nil {
		err = tx.err
	}
	return tx.committed, err
}

func (tx *Tx) committed() {
	for _, f := range tx.onCommit {
		f()
	}
}

// OnCommit registers f to be called when the transaction is committed, before DB.Tx returns. Its
// use is to drop cached data that the transaction changes. f is also called if the outcome is
// unknown (ErrUncertain), and not if the transaction is known to be undone. It may run in any
// goroutine. It must not wait for anything, and must not use the database. The functions of a
// transaction are called in the order of their registration.
func (tx *Tx) OnCommit(f func()) { tx.onCommit = append(tx.onCommit, f) }

// Exec runs a statement and returns the number of rows that it changed.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	if err := tx.usable(); err != nil {
		return 0, err
	}
	n, err := tx.conn.Exec(query, args)
	return n, tx.fail(err)
}

// Query runs a query and reads its rows into memory.
func (tx *Tx) Query(query string, args ...any) (*Rows, error) { return tx.read(query, args, -1) }

// QueryRow is like Query, for the first row of the result. Row.Scan returns the error.
func (tx *Tx) QueryRow(query string, args ...any) Row { return firstRow(tx.read(query, args, 1)) }

// read returns at most n rows, or all if n is negative.
func (tx *Tx) read(query string, args []any, n int) (*Rows, error) {
	if err := tx.usable(); err != nil {
		return nil, err
	}
	r, err := tx.conn.Query(query, args, n)
	return r, tx.fail(err)
}

// usable returns the error of a statement that must not run.
func (tx *Tx) usable() error {
	if tx.conn == nil {
		return errTxDone
	}
	return tx.err
}

// fail records the error of a statement and returns it.
func (tx *Tx) fail(err error) error {
	if err != nil {
		tx.err = err
	}
	return tx.err
}

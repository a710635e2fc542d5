package db

import "errors"

// Conn is what a transaction needs of the connection that it runs on.
type Conn interface {
	// Exec runs a statement and returns how many rows it changed.
	Exec(query string, args []any) (int64, error)
	// Query runs a query and returns its first n rows, or all if n is negative. A statement that
	// writes has done so whole before it returns its first row.
	Query(query string, args []any, n int) (*Rows, error)
}

// Tx is a running write transaction. It is for the goroutine that its function runs in.
//
// After a statement has failed the transaction is over: its other statements fail with the same
// error, and DB.Tx returns that error even if the function returns nil.
type Tx struct {
	conn     Conn  // nil when the function has returned
	err      error // of the first statement that failed
	onCommit []func()
}

var errTxDone = errors.New("the transaction's function has returned")

// Run runs fn in a transaction whose statements conn executes; it neither begins nor ends one. The
// error is that of fn, or of a statement that failed. Engines call committed when the transaction
// is committed or may be, before its caller hears of it.
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

// OnCommit has f called when the transaction is committed, before the caller of DB.Tx hears of it:
// the place to forget what was kept of the rows that it changes. f is also called when the outcome
// is not known (ErrUncertain), and not when the transaction is known to be undone. It may run in
// any goroutine; it must not wait for anything, nor use the database. The functions of a
// transaction are called in their order.
func (tx *Tx) OnCommit(f func()) { tx.onCommit = append(tx.onCommit, f) }

// Exec runs a statement and returns how many rows it changed.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	if err := tx.usable(); err != nil {
		return 0, err
	}
	n, err := tx.conn.Exec(query, args)
	return n, tx.fail(err)
}

// Query runs a query and reads its rows into memory.
func (tx *Tx) Query(query string, args ...any) (*Rows, error) { return tx.read(query, args, -1) }

// QueryRow is Query for the first row of a result. Errors are those of Row.Scan.
func (tx *Tx) QueryRow(query string, args ...any) Row { return firstRow(tx.read(query, args, 1)) }

// read returns at most n rows, or all if n is negative.
func (tx *Tx) read(query string, args []any, n int) (*Rows, error) {
	if err := tx.usable(); err != nil {
		return nil, err
	}
	r, err := tx.conn.Query(query, args, n)
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
		tx.err = err
	}
	return tx.err
}

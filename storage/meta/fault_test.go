package meta

import (
	"context"
	"errors"
	"io/fs"

	"github.com/berth-registry/berth/internal/db"
)

var errFault = errors.New("input/output error")

// faulty is a database one of whose statements fails, or has a result that cannot be read. Its
// reads end with their context also where they would not have to wait.
type faulty struct {
	*db.DB
	armed  bool // statements count
	count  int  // of statements
	at     int  // the number of the faulty one, from 1 on
	misfit bool // its result is faulty, not itself
	misled bool // such a result was returned
}

// next reports whether the next statement is the faulty one.
func (f *faulty) next() bool {
	if f.armed {
		f.count++
	}
	return f.armed && f.count == f.at
}

// query returns a query's result, or what the faulty one has instead.
func (f *faulty) query(rows *db.Rows, err error) (*db.Rows, error) {
	switch {
	case !f.next():
		return rows, err
	case f.misfit:
		f.misled = true
		return db.NewRows(1, unreadable), nil
	}
	return nil, errFault
}

// unreadable is a row that no method can read: none has a fraction.
var unreadable = []any{1.5}

// Query implements db.Engine.
func (f *faulty) Query(ctx context.Context, query string, args []any, _ int) (*db.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return f.query(f.DB.Query(ctx, query, args...))
}

// Scan implements db.Engine.
func (f *faulty) Scan(ctx context.Context, query string, args []any, each func(db.Row) (bool, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case !f.next():
		return f.DB.Scan(ctx, query, args, each)
	case f.misfit:
		f.misled = true
		_, err := each(db.NewRow(unreadable))
		return err
	}
	return errFault
}

// Tx implements db.Engine.
func (f *faulty) Tx(ctx context.Context, fn func(tx *db.Tx) error) error {
	return f.DB.Tx(ctx, func(tx *db.Tx) error {
		committed, err := db.RunTx(faultyConn{f, tx}, fn)
		tx.OnCommit(committed)
		return err
	})
}

// faultyConn is the connection of a transaction of a faulty database.
type faultyConn struct {
	f  *faulty
	tx *db.Tx
}

// Exec implements db.Conn. A statement without a result has no misfit.
func (c faultyConn) Exec(query string, args []any) (int64, error) {
	if c.f.next() && !c.f.misfit {
		return 0, errFault
	}
	return c.tx.Exec(query, args...)
}

// Query implements db.Conn.
func (c faultyConn) Query(query string, args []any, _ int) (*db.Rows, error) {
	return c.f.query(c.tx.Query(query, args...))
}

// fails tests that a call returns the error of each of its statements, and one where a result
// cannot be read.
func (s *suite) fails(what string, call func() error) {
	s.Helper()
	f := s.faulty
	for at := 1; ; at++ {
		*f = faulty{DB: f.DB, at: at}
		err := call()
		if f.count < at {
			break
		}
		if !errors.Is(err, errFault) {
			s.Errorf("%s: statement %d fails: %v", what, at, err)
		}
		*f = faulty{DB: f.DB, at: at, misfit: true}
		if err := call(); f.misled && (err == nil || errors.Is(err, fs.ErrNotExist)) {
			s.Errorf("%s: the result of statement %d cannot be read: %v", what, at, err)
		}
	}
	*f = faulty{DB: f.DB}
}

// counted runs a call whose statements count.
func (s *suite) counted(call func() (any, error)) error {
	s.faulty.armed = true
	defer func() { s.faulty.armed = false }()
	_, err := call()
	return err
}

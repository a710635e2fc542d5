package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// fakeConn answers each query with one row that holds the number of statements so far. The
// statement "bad" fails, and the query "none" has no row.
type fakeConn struct{ asked []string }

var errBad = errors.New("bad statement")

func (c *fakeConn) Exec(query string, args []any) (int64, error) {
	c.asked = append(c.asked, fmt.Sprint(query, args))
	if query == "bad" {
		return 7, errBad
	}
	return int64(len(c.asked)), nil
}

func (c *fakeConn) Query(query string, args []any, n int) (*Rows, error) {
	if _, err := c.Exec(query, append(slices.Clone(args), n)); err != nil {
		return nil, err
	}
	if query == "none" {
		return NewRows(1, nil), nil
	}
	return NewRows(1, []any{int64(len(c.asked))}), nil
}

func TestRun(t *testing.T) {
	c := &fakeConn{}
	var kept *Tx
	var called []int
	committed, err := RunTx(c, func(tx *Tx) error {
		kept = tx
		for i := range 2 {
			tx.OnCommit(func() { called = append(called, i) })
		}
		if n, err := tx.Exec("a", 1); n != 1 || err != nil {
			t.Errorf("exec: %d, %v", n, err)
		}
		var n int
		if err := tx.QueryRow("b", 2).Scan(&n); n != 2 || err != nil {
			t.Errorf("a row: %d, %v", n, err)
		}
		if err := tx.QueryRow("none").Scan(&n); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no row: %v", err)
		}
		rows, err := tx.Query("c")
		if err != nil || !rows.Next() || rows.Next() {
			t.Errorf("rows: %v", err)
		}
		return nil
	})
	if err != nil || called != nil {
		t.Errorf("got %v, called %v", err, called)
	}
	committed()
	if !slices.Equal(called, []int{0, 1}) {
		t.Errorf("called %v", called)
	}
	if want := []string{"a[1]", "b[2 1]", "none[1]", "c[-1]"}; !slices.Equal(c.asked, want) {
		t.Errorf("asked %q, want %q", c.asked, want)
	}
	if _, err := kept.Exec("late"); !errors.Is(err, errTxDone) {
		t.Errorf("after the end: %v", err)
	}
}

// TestRunFails checks that after a failed statement later ones fail with its error, and so does the
// transaction.
func TestRunFails(t *testing.T) {
	wrong := errors.New("wrong")
	for _, own := range []error{nil, wrong} {
		c := &fakeConn{}
		_, err := RunTx(c, func(tx *Tx) error {
			if n, err := tx.Exec("bad"); n != 7 || err != errBad {
				t.Errorf("got %d, %v", n, err)
			}
			if _, err := tx.Query("a"); err != errBad {
				t.Errorf("got %v", err)
			}
			if err := tx.QueryRow("b").Scan(); err != errBad {
				t.Errorf("got %v", err)
			}
			return own
		})
		if own == nil {
			own = errBad
		}
		if err != own || len(c.asked) != 1 {
			t.Errorf("got %v after %q, want %v", err, c.asked, own)
		}
	}
}

// fakeEngine records its last query.
type fakeEngine struct {
	Engine
	asked string
}

func (e *fakeEngine) Query(_ context.Context, query string, args []any, n int) (*Rows, error) {
	e.asked = fmt.Sprint(query, args, n)
	return NewRows(2, []any{int64(1), nil, int64(2), "b"}), nil
}

func (e *fakeEngine) ListTable(n int, columns ...string) string { return fmt.Sprint(n, columns) }
func (e *fakeEngine) LockClause(clause string) string           { return " " + clause }
func (e *fakeEngine) Clock() string                             { return "now" }
func (e *fakeEngine) Exclusive() bool                           { return true }

func TestDB(t *testing.T) {
	e, counter := &fakeEngine{}, prometheus.NewCounter(prometheus.CounterOpts{Name: "n"})
	d := New(e, counter)
	var n int
	var text *string
	if err := d.QueryRow(t.Context(), "a", 1).Scan(&n, &text); n != 1 || text != nil || err != nil || e.asked != "a[1] 1" {
		t.Errorf("%s: %d, %v, %v", e.asked, n, text, err)
	}
	rows, err := d.Query(t.Context(), "b", 2, 3)
	if err != nil || e.asked != "b[2 3] -1" {
		t.Errorf("%s: %v", e.asked, err)
	}
	for want := 1; rows.Next(); want++ {
		if err := rows.Scan(&n, &text); err != nil || n != want {
			t.Errorf("row %d: %d, %v", want, n, err)
		}
	}
	if n != 2 || text == nil || *text != "b" {
		t.Errorf("the last row is %d, %v", n, text)
	}
	if got := d.ListTable(3, "a text", "b bigint"); got != "3 [a text b bigint]" {
		t.Errorf("each: %s", got)
	}
	if got := d.LockClause("FOR UPDATE") + d.Clock(); got != " FOR UPDATEnow" {
		t.Errorf("lock and clock: %s", got)
	}
	if !d.Exclusive() || !slices.Equal(d.Collectors(), []prometheus.Collector{counter}) {
		t.Errorf("exclusive: %v, metrics %v", d.Exclusive(), d.Collectors())
	}
}

package db

import (
	"fmt"
	"io/fs"
	"reflect"
)

// Row is one row of a result, or an error instead.
type Row struct {
	values []any
	err    error
}

// NewRow returns a row of values. Each is an int64, float64, string, []byte, or nil for NULL.
func NewRow(values []any) Row { return Row{values: values} }

// firstRow returns the first row of a result. Its error is err, or fs.ErrNotExist if the result is
// empty.
func firstRow(r *Rows, err error) Row {
	switch {
	case err != nil:
		return Row{err: err}
	case len(r.values) == 0:
		return Row{err: fs.ErrNotExist}
	}
	return Row{values: r.values[:r.width]}
}

// Scan copies the columns of the row into dest, one pointer for each. If there is no row it returns
// fs.ErrNotExist.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return scan(dest, r.values)
}

// Rows is a result in memory. It holds no connection, so it need not be closed, and only Scan can
// fail.
type Rows struct {
	width   int
	values  []any // of all rows, one after the other
	current []any
	next    int // index in values of the next row
}

// NewRows returns a result with width columns. values holds the rows one after the other; NewRow
// lists the types of a value.
func NewRows(width int, values []any) *Rows { return &Rows{width: width, values: values} }

// Next advances to the next row and reports whether there is one.
func (r *Rows) Next() bool {
	if r.next >= len(r.values) {
		r.current = nil
		return false
	}
	r.current = r.values[r.next : r.next+r.width]
	r.next += r.width
	return true
}

// Scan copies the columns of the current row into dest, one pointer for each.
func (r *Rows) Scan(dest ...any) error { return scan(dest, r.current) }

func scan(dest []any, values []any) error {
	if len(dest) != len(values) {
		return fmt.Errorf("scanning %d columns into %d variables", len(values), len(dest))
	}
	for i, d := range dest {
		if err := assign(d, values[i]); err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return nil
}

// assign stores the value of a column in *dest. It makes only conversions that lose nothing. dest
// may point to a pointer, a byte slice or an any, or be an sql.Scanner: only these take NULL.
func assign(dest any, value any) error {
	switch v := value.(type) {
	case string:
		switch d := dest.(type) {
		case *string:
			*d = v
			return nil
		case *[]byte:
			*d = []byte(v)
			return nil
		}
	case []byte:
		switch d := dest.(type) {
		case *[]byte:
			*d = v // the driver allocated it for this row
			return nil
		case *string:
			*d = string(v)
			return nil
		}
	case int64:
		switch d := dest.(type) {
		case *int64:
			*d = v
			return nil
		case *bool:
			if v != 0 && v != 1 {
				return fmt.Errorf("%d is not a truth value", v)
			}
			*d = v == 1
			return nil
		}
	case nil:
		if d, ok := dest.(*[]byte); ok {
			*d = nil
			return nil
		}
	}
	switch d := dest.(type) {
	case *any:
		*d = value
		return nil
	case interface{ Scan(src any) error }:
		return d.Scan(value)
	}
	return assignKind(dest, value)
}

// assignKind is assign for types that need reflection: other sizes of integers, floats, defined
// types, and pointers for columns that may be NULL.
func assignKind(dest any, value any) error {
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("cannot scan into a %T", dest)
	}
	to := p.Elem()
	if to.Kind() == reflect.Pointer {
		if value == nil {
			to.SetZero()
			return nil
		}
		to.Set(reflect.New(to.Type().Elem()))
		return assign(to.Interface(), value)
	}
	switch v := value.(type) {
	case string:
		if to.Kind() == reflect.String {
			to.SetString(v)
			return nil
		}
	case int64:
		switch {
		case to.CanInt() && !to.OverflowInt(v):
			to.SetInt(v)
			return nil
		case to.CanUint() && v >= 0 && !to.OverflowUint(uint64(v)):
			to.SetUint(uint64(v))
			return nil
		}
	case float64:
		if to.CanFloat() {
			to.SetFloat(v)
			return nil
		}
	}
	return fmt.Errorf("cannot scan a %T into a %T", value, dest)
}

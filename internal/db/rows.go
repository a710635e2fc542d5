package meta

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io/fs"
	"reflect"
	"time"
)

// bind appends the arguments of a statement to to, as the driver wants them.
// Times are refused: columns hold integers.
func bind(to []driver.NamedValue, args []any) ([]driver.NamedValue, error) {
	for i, arg := range args {
		var v driver.Value
		switch a := arg.(type) {
		case nil, int64, string, []byte, bool:
			v = a
		case int:
			v = int64(a)
		default:
			var err error
			if v, err = driver.DefaultParameterConverter.ConvertValue(arg); err != nil {
				return to, fmt.Errorf("argument %d: %w", i+1, err)
			}
			if _, ok := v.(time.Time); ok {
				return to, fmt.Errorf("argument %d: a time is not a column's type", i+1)
			}
		}
		to = append(to, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return to, nil
}

// row is the first row of a result, or what kept it away.
type row struct {
	values []driver.Value
	err    error
}

// firstRow makes a row of a result and its error.
func firstRow(r *rows, err error) row {
	switch {
	case err != nil:
		return row{err: err}
	case len(r.values) == 0:
		return row{err: fs.ErrNotExist}
	}
	return row{values: r.values[:r.width]}
}

// Scan copies the columns of the row into dest, one pointer for each. It
// answers fs.ErrNotExist where there is no row.
func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return scan(dest, r.values)
}

// rows is a result in memory. It is used like a sql.Rows, but needs no closing.
type rows struct {
	width   int
	values  []driver.Value // of all rows
	current []driver.Value
	next    int // index in values
}

// Next goes on to the next row, and says whether there is one.
func (r *rows) Next() bool {
	if r.next >= len(r.values) {
		r.current = nil
		return false
	}
	r.current = r.values[r.next : r.next+r.width]
	r.next += r.width
	return true
}

// Scan copies the columns of the current row into dest, one pointer for each.
func (r *rows) Scan(dest ...any) error { return scan(dest, r.current) }

// Err is nil: the rows were all read before.
func (r *rows) Err() error { return nil }

// Close does nothing.
func (r *rows) Close() error { return nil }

func scan(dest []any, values []driver.Value) error {
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

// assign stores a column's value where dest points to. Only conversions that
// lose nothing are made; NULL goes into pointers, byte slices, any and sql.Scanner.
func assign(dest any, value driver.Value) error {
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
			*d = v // the driver made it for us
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
	case sql.Scanner:
		return d.Scan(value)
	}
	return assignKind(dest, value)
}

// assignKind is assign for types known by their kind alone: int, defined
// strings and integers, and pointers to what may be NULL.
func assignKind(dest any, value driver.Value) error {
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

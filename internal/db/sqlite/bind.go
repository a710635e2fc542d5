package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

// bind converts the arguments of a statement for the driver and appends them to to. A slice other
// than []byte becomes a list for listTable. A time is an error: columns hold integers.
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
			if v, err = convert(arg); err != nil {
				return to, fmt.Errorf("argument %d: %w", i+1, err)
			}
		}
		to = append(to, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return to, nil
}

// convert converts an argument of a less common type.
func convert(arg any) (driver.Value, error) {
	if t := reflect.TypeOf(arg); t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		list, err := db.ListJSON(arg)
		return string(list), err
	}
	v, err := driver.DefaultParameterConverter.ConvertValue(arg)
	if _, ok := v.(time.Time); ok {
		err = errors.New("a time is not a column's type")
	}
	return v, err
}

// listTable implements db.Engine.ListTable for lists that bind has encoded.
func listTable(n int, columns []string) string {
	table := "json_each($" + strconv.Itoa(n) + ")"
	if len(columns) == 0 {
		return table + " AS list"
	}
	fields := make([]string, len(columns))
	for i, column := range columns {
		name, _, _ := strings.Cut(column, " ")
		fields[i] = "json_extract(value, '$." + name + "') AS " + name
	}
	return "(SELECT " + strings.Join(fields, ", ") + " FROM " + table + ") AS list"
}

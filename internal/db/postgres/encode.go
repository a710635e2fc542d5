package postgres

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

// encodeArgs converts the arguments of a statement. All but bytes are sent as text, which the
// server parses as what the statement wants there: no type has to be known here. A truth value is 1
// or 0, which is right for boolean and bigint.
func encodeArgs(args []any) (values [][]byte, formats []int16, err error) {
	values, formats = make([][]byte, len(args)), make([]int16, len(args))
	for i, arg := range args {
		switch a := arg.(type) {
		case []byte:
			values[i], formats[i] = a, binaryFormat
		default:
			if values[i], err = encodeText(arg); err != nil {
				return nil, nil, fmt.Errorf("argument %d: %w", i+1, err)
			}
		}
	}
	return values, formats, nil
}

// encodeText returns the text of an argument, or nil for NULL.
func encodeText(arg any) ([]byte, error) {
	switch a := arg.(type) {
	case nil:
		return nil, nil
	case string:
		return append([]byte{}, a...), nil // not nil, which is NULL
	case int64:
		return strconv.AppendInt(nil, a, 10), nil
	case int:
		return strconv.AppendInt(nil, int64(a), 10), nil
	case float64:
		return strconv.AppendFloat(nil, a, 'g', -1, 64), nil
	case bool:
		if a {
			return []byte{'1'}, nil
		}
		return []byte{'0'}, nil
	case time.Time:
		return nil, errors.New("a time is not a column's type")
	}
	v := reflect.ValueOf(arg)
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8 {
		return encodeList(v)
	}
	plain, err := driver.DefaultParameterConverter.ConvertValue(arg)
	if err != nil {
		return nil, err
	}
	if b, ok := plain.([]byte); ok {
		return nil, fmt.Errorf("%T is not []byte but %T", b, arg)
	}
	return encodeText(plain)
}

// encodeList returns a list for ListTable: an array of texts, or JSON.
func encodeList(list reflect.Value) ([]byte, error) {
	if list.Type().Elem().Kind() == reflect.String {
		return encodeArray(list), nil
	}
	return db.ListJSON(list.Interface())
}

// arrayEscaper escapes a quoted element of an array.
var arrayEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// encodeArray returns an array of texts in the server's form.
func encodeArray(list reflect.Value) []byte {
	to := []byte{'{'}
	for i := range list.Len() {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(to, '"')
		to = append(to, arrayEscaper.Replace(list.Index(i).String())...)
		to = append(to, '"')
	}
	return append(to, '}')
}

// binaryFormat is the protocol's code of the binary format. That of text is 0.
const binaryFormat = 1

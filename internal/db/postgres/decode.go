package postgres

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/internal/db"
)

// Object identifiers of the types that a result may have.
const (
	boolOID    = 16
	byteaOID   = 17
	nameOID    = 19
	int8OID    = 20
	int2OID    = 21
	int4OID    = 23
	textOID    = 25
	jsonOID    = 114
	float4OID  = 700
	float8OID  = 701
	unknownOID = 705
	bpcharOID  = 1042
	varcharOID = 1043
	voidOID    = 2278
)

// readRows reads at most n rows, or all if n is negative.
func readRows(rows *pgconn.ResultReader, n int) (*db.Rows, error) {
	width := len(rows.FieldDescriptions())
	values := make([]any, 0, width)
	for ; n != 0 && rows.NextRow(); n-- {
		var err error
		if values, err = appendRow(values, rows); err != nil {
			return nil, err
		}
	}
	return db.NewRows(width, values), nil
}

// scanRows calls each for every row, until there are no more rows or each returns false or an
// error.
func scanRows(rows *pgconn.ResultReader, each func(db.Row) (bool, error)) (err error) {
	var values []any
	for more := true; more && rows.NextRow(); {
		if values, err = appendRow(values[:0], rows); err == nil {
			more, err = each(db.NewRow(values))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// appendRow appends the values of the current row.
func appendRow(to []any, rows *pgconn.ResultReader) ([]any, error) {
	fields := rows.FieldDescriptions()
	for i, data := range rows.Values() {
		v, err := decode(fields[i].DataTypeOID, data)
		if err != nil {
			return to, fmt.Errorf("column %s: %w", fields[i].Name, err)
		}
		to = append(to, v)
	}
	return to, nil
}

// decode returns a value of a result as db.NewRow wants it. data is in the binary format, and valid
// only until the next row is read. A numeric, which SUM of bigint is, has no counterpart.
func decode(oid uint32, data []byte) (any, error) {
	if data == nil {
		return nil, nil
	}
	switch {
	case oid == textOID, oid == varcharOID, oid == bpcharOID, oid == nameOID, oid == jsonOID, oid == unknownOID:
		return string(data), nil
	case oid == byteaOID:
		return append([]byte{}, data...), nil
	case oid == int8OID && len(data) == 8:
		return int64(binary.BigEndian.Uint64(data)), nil
	case oid == int4OID && len(data) == 4:
		return int64(int32(binary.BigEndian.Uint32(data))), nil
	case oid == int2OID && len(data) == 2:
		return int64(int16(binary.BigEndian.Uint16(data))), nil
	case oid == boolOID && len(data) == 1:
		return int64(data[0]), nil
	case oid == float8OID && len(data) == 8:
		return math.Float64frombits(binary.BigEndian.Uint64(data)), nil
	case oid == float4OID && len(data) == 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(data))), nil
	case oid == voidOID:
		return nil, nil
	}
	return nil, fmt.Errorf("a value of type %d and %d bytes has no counterpart: cast it", oid, len(data))
}

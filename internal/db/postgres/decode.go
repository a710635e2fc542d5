package postgres

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"

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
	numericOID = 1700
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
// only until the next row is read.
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
	case oid == numericOID && len(data) >= 8:
		return decodeNumeric(data)
	case oid == voidOID:
		return nil, nil
	}
	return nil, fmt.Errorf("a value of type %d and %d bytes has no counterpart: cast it", oid, len(data))
}

// decodeNumeric returns a numeric, which SUM of bigint is: an int64 if it is whole and not too
// large, else a float64. Its digits have the base 10,000.
func decodeNumeric(data []byte) (any, error) {
	word := func(i int) int { return int(int16(binary.BigEndian.Uint16(data[2*i:]))) }
	digits, weight, sign := word(0), word(1), word(2)
	if len(data) != 8+2*digits || sign != 0 && sign != 0x4000 {
		return nil, fmt.Errorf("the numeric %x is not a finite number", data)
	}
	sum, base := new(big.Rat), new(big.Int)
	for i := range digits {
		base.Exp(big.NewInt(10000), big.NewInt(int64(abs(weight-i))), nil)
		power := new(big.Rat).SetInt(base)
		if weight < i {
			power.Inv(power)
		}
		sum.Add(sum, power.Mul(power, big.NewRat(int64(word(4+i)), 1)))
	}
	if sign != 0 {
		sum.Neg(sum)
	}
	if sum.IsInt() && sum.Num().IsInt64() {
		return sum.Num().Int64(), nil
	}
	f, _ := sum.Float64()
	return f, nil
}

func abs(n int) int { return max(n, -n) }

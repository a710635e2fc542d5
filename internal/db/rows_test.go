package db

import (
	"database/sql"
	"reflect"
	"testing"
)

type kind string

func TestAssign(t *testing.T) {
	text, number := "x", int64(7)
	for _, test := range []struct {
		value any
		dest  any
		want  any // nil for an error
	}{
		{"x", new(string), "x"},
		{"x", new([]byte), []byte("x")},
		{"x", new(kind), kind("x")},
		{"x", new(any), "x"},
		{"x", new(*string), &text},
		{"x", new(sql.NullString), sql.NullString{String: "x", Valid: true}},
		{"x", new(int64), nil},
		{"7", new(int), nil},
		{[]byte("x"), new([]byte), []byte("x")},
		{[]byte("x"), new(string), "x"},
		{int64(7), new(int64), int64(7)},
		{int64(7), new(int), 7},
		{int64(7), new(uint8), uint8(7)},
		{int64(7), new(*int64), &number},
		{int64(7), new(string), nil},
		{int64(300), new(uint8), nil},
		{int64(300), new(int8), nil},
		{int64(-1), new(uint), nil},
		{int64(1), new(bool), true},
		{int64(0), new(bool), false},
		{int64(2), new(bool), nil},
		{1.5, new(float64), 1.5},
		{1.5, new(int), nil},
		{nil, new([]byte), []byte(nil)},
		{nil, new(*string), (*string)(nil)},
		{nil, new(sql.NullString), sql.NullString{}},
		{nil, new(string), nil},
		{nil, new(int64), nil},
		{nil, new(int), nil},
		{"x", (*kind)(nil), nil},
		{"x", kind(""), nil},
	} {
		err := assign(test.dest, test.value)
		if test.want == nil {
			if err == nil {
				t.Errorf("a %T went into a %T", test.value, test.dest)
			}
			continue
		}
		if got := reflect.ValueOf(test.dest).Elem().Interface(); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v into a %T: %v, %v", test.value, test.dest, got, err)
		}
	}
	if err := scan([]any{new(string)}, []any{"a", "b"}); err == nil {
		t.Error("two columns went into one variable")
	}
}

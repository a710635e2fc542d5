package sqlite

import (
	"database/sql"
	"reflect"
	"testing"
	"time"
)

type kind string

// TestArguments checks that an argument of each type is read as it was bound.
func TestArguments(t *testing.T) {
	d := openTest(t, "sqlite::memory:", Options{})
	for _, arg := range []any{"", "a\x00b", "ä", int64(-1), int64(1) << 62, []byte{0, 255}, nil} {
		var got any
		if err := d.queryRow(`SELECT $1`, arg).Scan(&got); err != nil || !reflect.DeepEqual(got, arg) {
			t.Errorf("%#v came back as %#v, %v", arg, got, err)
		}
	}
	for arg, want := range map[any]any{kind("x"): "x", 7: int64(7), true: int64(1), uint8(8): int64(8), sql.NullInt64{}: nil} {
		var got any
		if err := d.queryRow(`SELECT $1`, arg).Scan(&got); err != nil || got != want {
			t.Errorf("%#v came back as %#v, %v", arg, got, err)
		}
	}
	for _, arg := range []any{time.Now(), struct{}{}, []any{func() {}}} {
		if err := d.queryRow(`SELECT $1`, arg).Scan(new(any)); err == nil {
			t.Errorf("a %T was taken", arg)
		}
	}
	if err := d.queryRow(`SELECT $1, $2`, 1).Scan(new(any), new(any)); err == nil {
		t.Error("an argument too few was taken")
	}
	var first, second string
	if err := d.queryRow(`SELECT $2, $1`, "a", "b").Scan(&first, &second); err != nil || first != "b" || second != "a" {
		t.Errorf("%s %s %v", first, second, err)
	}
}

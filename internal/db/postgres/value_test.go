package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestResults checks what values of the server's types are read as.
func TestResults(t *testing.T) {
	e := openTest(t, testserver.PostgresURL(t), Options{})
	for expression, want := range map[string]any{
		"1::smallint": int64(1), "-7": int64(-7), "-9223372036854775808": int64(-1 << 63), "true": int64(1), "1 > 2": int64(0),
		"0.5::float8": 0.5, "0.25::real": 0.25, "'ä'::varchar": "ä", "'x'": "x", `'{"a":1}'::json`: `{"a":1}`, "NULL": nil, "''": "",
		"CAST(SUM(n) AS BIGINT) FROM (VALUES (9223372036854775806::bigint), (1)) AS v (n)": int64(1<<63 - 1),
	} {
		rows, err := e.Query(t.Context(), "SELECT "+expression, nil, 1)
		var got any
		if err != nil || !rows.Next() || rows.Scan(&got) != nil || got != want {
			t.Errorf("%s is %T %v (%v), want %T %v", expression, got, got, err, want, want)
		}
	}
	for _, expression := range []string{"now()", "'NaN'::numeric", "ARRAY[1]", "SUM(n) FROM (VALUES (1::bigint)) AS v (n)"} {
		if _, err := e.Query(t.Context(), "SELECT "+expression, nil, 1); err == nil || !strings.Contains(err.Error(), "column ") {
			t.Errorf("%s: %v", expression, err)
		}
	}
}

// TestArguments checks what Go's values are sent as.
func TestArguments(t *testing.T) {
	type name string
	e := openTest(t, testserver.PostgresURL(t), Options{})
	seven, none := int64(7), (*int64)(nil)
	for _, test := range []struct {
		cast string
		arg  any
		want string
	}{
		{"bigint", 7, "7"}, {"bigint", uint8(7), "7"}, {"bigint", &seven, "7"}, {"bigint", none, ""}, {"bigint", true, "1"}, {"boolean", false, "false"},
		{"boolean", 1, "true"}, {"float8", 0.5, "0.5"}, {"text", name("x"), "x"}, {"text", "", "empty"}, {"bytea", []byte{0, 255}, `\x00ff`}, {"bytea", []byte(nil), ""},
	} {
		rows, err := e.Query(t.Context(), "SELECT COALESCE(NULLIF(($1::"+test.cast+")::text, ''), CASE WHEN $1 IS NULL THEN '' ELSE 'empty' END)", []any{test.arg}, 1)
		var got string
		if err != nil || !rows.Next() || rows.Scan(&got) != nil || got != test.want {
			t.Errorf("%v as %s is %q (%v), want %q", test.arg, test.cast, got, err, test.want)
		}
	}
	for _, arg := range []any{time.Now(), make(chan int), struct{}{}, []any{func() {}}} {
		if _, err := e.Query(t.Context(), "SELECT $1::text", []any{arg}, 1); err == nil {
			t.Errorf("a %T was taken", arg)
		}
	}
}

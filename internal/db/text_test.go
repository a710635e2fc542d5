package db

import "testing"

func TestStorable(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "a": true, "ä\ufffd\U0010ffff\x01": true, "a\x00b": false, "\x00": false, "a\xff": false, "\xc3": false, "\xed\xa0\x80": false,
	} {
		if got := Storable("a", text); got != want {
			t.Errorf("%q is storable: %t", text, got)
		}
	}
}

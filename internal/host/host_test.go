package host

import "testing"

// TestParse has texts with their canonical form, in a URL of each scheme.
func TestParse(t *testing.T) {
	for text, want := range map[string][2]string{
		"r.example":       {"r.example", "r.example"},
		"R.Example.":      {"r.example", "r.example"},
		"R.example.:":     {"r.example", "r.example"},
		"r.example:80":    {"r.example", "r.example:80"},
		"r.EXAMPLE.:443":  {"r.example:443", "r.example"},
		"r.example:5000":  {"r.example:5000", "r.example:5000"},
		"127.0.0.1:80":    {"127.0.0.1", "127.0.0.1:80"},
		"::1":             {"[::1]", "[::1]"},
		"[0:0::1]":        {"[::1]", "[::1]"},
		"[2001:DB8::0:1]": {"[2001:db8::1]", "[2001:db8::1]"},
		"[::1]:443":       {"[::1]:443", "[::1]"},
		"[::1.example]:1": {"[::1.example]:1", "[::1.example]:1"}, // no address
		"":                {"", ""},
	} {
		got := [2]string{Parse("http", text).In("http"), Parse("https", text).In("https")}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

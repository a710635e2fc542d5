package auth

import (
	"strings"
	"testing"
)

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3":            "10.1.2.3/32",
		"10.0.0.0/8":          "10.0.0.0/8",
		"0.0.0.0/0":           "0.0.0.0/0",
		"::1":                 "::1/128",
		"fd00::/8":            "fd00::/8",
		"fe80::1%eth0":        "fe80::1/128",
		"::ffff:10.0.0.1":     "10.0.0.1/32",
		"::ffff:10.0.0.0/104": "10.0.0.0/8",
		"::ffff:0.0.0.0/96":   "0.0.0.0/0",
		"::ffc0:0:0/90":       "::ffc0:0:0/90",
	} {
		if got, err := ParseNetwork(text); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestParseNetworkRefuses(t *testing.T) {
	const neither, expected = " is neither an address nor a network such as ", " has more than the network's bits: expected "
	for text, want := range map[string]string{
		"":                    neither,
		"*":                   neither,
		"proxy.example":       neither,
		"10.0.0":              neither,
		"10.0.0.0/":           neither,
		"10.0.0.0/33":         neither,
		"fe80::%eth0/64":      neither,
		"10.1.2.3/8":          expected + "10.0.0.0/8, or one address without /",
		"2001:db8::1/32":      expected + "2001:db8::/32, or one address without /",
		"::ffff:10.1.2.3/104": expected + "10.0.0.0/8, or one address without /",
		"::ffff:0:0/90":       expected + "::ffc0:0:0/90, or one address without /",
	} {
		if got, err := ParseNetwork(text); err == nil || !strings.HasPrefix(err.Error(), `"`+text+`"`+want) {
			t.Errorf("%s: %v, %v, want an error that says%s", text, got, err, want)
		}
	}
}

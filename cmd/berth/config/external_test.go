package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestExternalURL has valid values of http.external_url with their canonical form, and invalid
// ones.
func TestExternalURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://registry.example":      "https://registry.example",
		"https://registry.example/":     "https://registry.example",
		"HTTPS://Registry.Example:443":  "https://registry.example",
		"https://registry.example:8443": "https://registry.example:8443",
		"https://registry.example:":     "https://registry.example",
		"http://registry.example:80/":   "http://registry.example",
		"http://registry.example:443":   "http://registry.example:443",
		"http://10.0.0.7:5000":          "http://10.0.0.7:5000",
		"http://[::1]:5000":             "http://[::1]:5000",
		"https://[2001:DB8:0::1]":       "https://[2001:db8::1]",
		"https://Registry.Example.":     "https://registry.example",
		"https://registry.example.:443": "https://registry.example",
	} {
		if got, err := parseExternalURL(text); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                               "not an https or http URL",
		"registry.example":               "not an https or http URL",
		"registry.example:5000":          "not an https or http URL",
		"ftp://registry.example":         "not an https or http URL",
		"https:registry.example":         "not an https or http URL",
		"https://":                       "no host",
		"https://:5000":                  "no host",
		"https://a,b":                    "a host or port that is none",
		"https://registry.exämple":       "a host or port that is none",
		"https://256.1.1.1":              "a host or port that is none",
		"https://r.example:0":            "a host or port that is none",
		"https://r.example:70000":        "a host or port that is none",
		"https://${HOST}":                "not an https or http URL",
		"https://u:hidden@r.example":     "a user in it",
		"https://hidden@r.example":       "a user in it",
		"https://u:hidden@r.example:x":   "not an https or http URL",
		"https://r.example/registry":     "more than scheme, host and port",
		"https://r.example/?":            "more than scheme, host and port",
		"https://r.example?token=hidden": "more than scheme, host and port",
		"https://r.example#x":            "more than scheme, host and port",
	} {
		if got, err := parseExternalURL(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %q, %v, want an error that says %q", text, got, err, want)
		}
	}
}

func TestHostNames(t *testing.T) {
	l, err := loadTest(t, "", nil, []string{"--http-hosts", "a.lan:5000", "--http-external-url", "https://R.example:8443,http://[::1]:5000"})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.HostNames(); fmt.Sprint(got) != "[a.lan:5000 r.example ::1]" {
		t.Errorf("got %q", got)
	}
}

func TestServiceName(t *testing.T) {
	for want, args := range map[string][]string{
		"berth":          nil,
		"r.example:8443": {"--http-external-url", "https://R.example:8443,https://other.example"},
		"registry":       {"--http-external-url", "https://r.example", "--auth-service", "registry"},
	} {
		l, err := loadTest(t, "", nil, args)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.ServiceName(); got != want {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
}

func TestProxies(t *testing.T) {
	l, err := loadTest(t, "", nil, []string{"--http-trusted-proxies", "10.1.2.3,10.0.0.0/8,::1,fd00::/8,::ffff:10.0.0.1,::ffff:10.0.0.0/104"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(l.Proxies), "[10.1.2.3/32 10.0.0.0/8 ::1/128 fd00::/8 10.0.0.1/32 10.0.0.0/8]"; got != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for _, text := range []string{"proxy.example", "10.0.0.0/33", "10.0.0", "10.0.0.0/", "*"} {
		if _, err := loadTest(t, "", nil, []string{"--http-trusted-proxies", text}); err == nil || !strings.Contains(err.Error(), "10.0.0.0/8") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

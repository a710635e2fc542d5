package config

import (
	"strings"
	"testing"
)

// TestEveryTextHasAGrammar: each setting that is a text refuses what is no text, and what a shell
// or another program would have replaced.
func TestEveryTextHasAGrammar(t *testing.T) {
	for _, s := range Settings() {
		if kind := s.kind(); kind != "text" && kind != "list" {
			continue
		}
		if textGrammars()[s.Key] == nil {
			t.Errorf("%s has no grammar", s.Key)
		}
		for _, value := range []string{"${BERTH_X}", "/a/${B}", "a\nb", "/a\x1b[0m", "/\xff"} {
			_, err := loadTest(t, "", nil, []string{"--" + s.Flag, value})
			if err == nil || !strings.Contains(err.Error(), s.Key+": ") {
				t.Errorf("%s: %q: %v", s.Key, value, err)
			}
		}
	}
}

// TestTextGrammars has valid and invalid values of the settings that are texts.
func TestTextGrammars(t *testing.T) {
	good := map[string][]string{
		"data":         {"berth", "./~", "/srv/a b/é", "/srv/$x", `C:\berth`, "/a~b"},
		"http.hosts":   {"*", "registry", "Registry.Lan", "registry.lan:5000", "10.0.0.7", "10.0.0.7:80", "[::1]:5000", "[::1]", "fd00::7", "xn--exmple-cua.test", "my_container"},
		"auth.service": {"registry.example", "registry.example:8443", "Docker registry", "https://registry.example/"},
		"http.addr":    {":5000", "localhost:0", "[fe80::1%eth0]:5000", "registry-1.lan:80"},
	}
	bad := map[string]map[string]string{
		"data": {
			"~/berth": "only a shell expands", "~": "only a shell expands", "~alice/x": "only a shell expands", "$HOME/x": "variables are not expanded",
			"file:///x": "is a URL", " /x": "blanks", "/x ": "blanks",
		},
		"http.hosts": {
			"http://registry.lan": "more than a host", "registry.lan/": "more than a host", "*.lan": "stands alone", "registry.lan:": "is not a host",
			"registry.lan:http": "is not a host", "registry.lan:0": "is not a host", "registry.lan:70000": "is not a host", "256.1.1.1": "is not a host", "10.0.0": "is not a host",
			"a b": "is not a host", "registry.exämple": "xn--", "-a.lan": "is not a host", "a..b": "is not a host", "[::1": "is not a host", "[lan]:80": "is not a host",
			"::1:x": "is not a host", strings.Repeat("a", 64): "is not a host", strings.Repeat("a.", 127) + "a": "is not a host",
		},
		"auth.service": {`a b"c`: "is not a name", `a\b`: "is not a name", "a,b": "is not a name", "é": "is not a name", "a ": "blanks"},
		"http.addr":    {"a b:5000": "HOST:PORT", "256.1.1.1:5000": "HOST:PORT", "127.0.0.1:http": "HOST:PORT", "127.0.0.1:70000": "HOST:PORT", "http://127.0.0.1:5000": "HOST:PORT"},
	}
	for _, s := range Settings() {
		for _, value := range good[s.Key] {
			if _, err := loadTest(t, "", nil, []string{"--" + s.Flag, value}); err != nil {
				t.Errorf("%s: %q: %v", s.Key, value, err)
			}
		}
		for value, want := range bad[s.Key] {
			_, err := loadTest(t, "", nil, []string{"--" + s.Flag, value})
			if err == nil || !strings.Contains(err.Error(), s.Key+": ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q: %v, want an error that says %q", s.Key, value, err, want)
			}
		}
	}
	if _, err := loadTest(t, "http: {hosts: ['']}", nil, nil); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty host: %v", err)
	}
}

// TestAddressesThatMeet: debug.addr and http.addr cannot share a port of one address.
func TestAddressesThatMeet(t *testing.T) {
	for _, c := range []struct {
		main, debug string
		meet        bool
	}{
		{"127.0.0.1:5000", "127.0.0.1:5000", true},
		{"127.0.0.1:5000", "127.0.0.1:5001", false},
		{"127.0.0.1:5000", "127.0.0.2:5000", false},
		{"127.0.0.1:0", "127.0.0.1:0", false},
		{":5000", "127.0.0.1:5000", true},
		{"127.0.0.1:5000", "0.0.0.0:5000", true},
		{"0.0.0.0:5000", "[::1]:5000", false},
		{"[::]:5000", "127.0.0.1:5000", true},
		{"0.0.0.0:5000", "[::]:5000", true},
		{"[::1]:5000", "127.0.0.1:5000", false},
		{"localhost:5000", "127.0.0.1:5000", true},
		{"Registry.lan:5000", "registry.lan:5000", true},
		{"registry.lan:5000", "127.0.0.1:5000", false},
		{"[::ffff:127.0.0.1]:5000", "127.0.0.1:5000", true},
	} {
		_, err := loadTest(t, "", nil, []string{"--addr", c.main, "--debug-addr", c.debug})
		if c.meet != (err != nil && strings.Contains(err.Error(), "takes the port of http.addr")) {
			t.Errorf("%s and %s: %v", c.main, c.debug, err)
		}
	}
}

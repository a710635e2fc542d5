package server

import "testing"

func TestDialAddr(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:5000": "127.0.0.1:5000", "0.0.0.0:5000": "127.0.0.1:5000", "[::]:5000": "[::1]:5000", ":5000": "localhost:5000", "registry.test:80": "registry.test:80",
	} {
		if got, err := dialAddr(listen); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", listen, got, err, want)
		}
	}
}

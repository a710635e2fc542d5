package config

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	all := Settings()
	for key, want := range map[string]string{
		"htpp.adr": "http.addr", "http.addr": "http.addr", "dat": "data", "log.levle": "log.level", "server.token_ttl": "auth.token_ttl",
		"version": "", "x": "", "storage.filesystem.rootdirectory": "", "proxy.remoteurl": "", strings.Repeat("data", 1000): "",
	} {
		if got := nearestKey(key, all); got != want {
			t.Errorf("%q is nearest to %q, want %q", key, got, want)
		}
	}
}

package web

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAllowedOrigins has lists of origins, and what pages of some origins are told.
func TestAllowedOrigins(t *testing.T) {
	for _, c := range []struct{ list, origin, want string }{
		{"", "https://ui.example", ""},
		{"", "", ""},
		{"https://ui.example", "https://ui.example", "https://ui.example"},
		{"https://ui.example", "http://ui.example", ""},
		{"https://ui.example", "", ""},
		{"https://a.example https://ui.example", "https://ui.example", "https://ui.example"},
		{"null", "null", ""},
		{"*", "https://ui.example", "*"},
		{"*", "null", ""},
		{"*", "", ""},
		{"* https://ui.example", "https://ui.example", "https://ui.example"},
		{"* https://ui.example", "https://evil.example", "*"},
	} {
		if got := (CORS{Origins: strings.Fields(c.list)}).allows(c.origin); got != c.want {
			t.Errorf("of %q the page of %q is told %q, want %q", c.list, c.origin, got, c.want)
		}
	}
}

// TestWritesOfOrigins: pages of named origins may write, those let in by "*" may not. An origin
// that no browser sends is logged.
func TestWritesOfOrigins(t *testing.T) {
	var log bytes.Buffer
	s := New(Options{
		CORS: CORS{Origins: []string{"https://ui.example", AnyOrigin, "https://slash.example/"}},
		Log:  slog.New(slog.NewTextHandler(&log, nil)),
	})
	for origin, want := range map[string]bool{"https://ui.example": true, "https://evil.example": false, "https://slash.example": false, "null": false} {
		r := httptest.NewRequest("DELETE", "http://registry.example/", nil)
		r.Header.Set("Origin", origin)
		if err := s.CheckOrigin(r); (err == nil) != want {
			t.Errorf("a write of a page of %q: %v", origin, err)
		}
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "https://slash.example/") {
		t.Errorf("the log has %q", got)
	}
}

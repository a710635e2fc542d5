package web

import (
	"regexp"
	"strings"
)

const maxLogged = 512 // bytes of one client text

// secretPattern matches what must not be logged, wherever a client put it: Berth's own secrets, and
// JWTs.
var secretPattern = regexp.MustCompile(`berth[prt]_[0-9A-Za-z]+|eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]+`)

// Redact returns a client's text as it may be logged: shortened, and without tokens that ended up
// in a path or a name.
func Redact(s string) string {
	if strings.Contains(s, "berth") || strings.Contains(s, "eyJ") {
		s = secretPattern.ReplaceAllLiteralString(s, "[token]")
	}
	return Shorten(s)
}

// Shorten limits a client's text to 512 bytes. It marks a cut with an ellipsis.
func Shorten(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}

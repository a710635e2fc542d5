package web

import (
	"regexp"
	"strings"
)

const maxLogged = 512 // characters of what a client wrote

// tokenText is what no log has, wherever a client put it: tokens of this registry, and
// signed ones.
var secretPattern = regexp.MustCompile(`berth[prt]_[0-9A-Za-z]+|eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]+`)

// Redact returns what a client wrote as a log may have it: bounded, and without tokens that ended
// up in a path or a name.
func Redact(s string) string {
	if strings.Contains(s, "berth") || strings.Contains(s, "eyJ") {
		s = secretPattern.ReplaceAllLiteralString(s, "[token]")
	}
	return Shorten(s)
}

// Shorten bounds what a client can make us write, at 512 bytes and a sign that there was more.
func Shorten(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}

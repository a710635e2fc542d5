package oidc

import (
	"fmt"
	"strings"
)

// maxName is the most bytes of an identity's name.
const maxName = 255

// expand puts claims into a template such as "{claims.project_path}". Every claim it
// names must be there with one value that is not empty, and the whole must be one
// word of printable ASCII without '#': it becomes a part of auth.Identity's Owner and
// of every line of the log.
func expand(template string, have map[string][]string) (string, error) {
	var name strings.Builder
	for rest := template; rest != ""; {
		before, after, placed := strings.Cut(rest, "{")
		word, next, closed := strings.Cut(after, "}")
		claim, ofClaim := strings.CutPrefix(word, "claims.")
		if strings.Contains(before, "}") || placed && !(closed && ofClaim) {
			return "", fmt.Errorf("identity template %q: braces are for {claims.NAME} only", template)
		}
		name.WriteString(before)
		if !placed {
			break
		}
		v := have[claim]
		if len(v) != 1 || v[0] == "" {
			return "", fmt.Errorf("identity template %q: the token has %d values of claim %s, not one", template, len(v), claim)
		}
		name.WriteString(v[0])
		rest = next
	}
	return name.String(), checkName(name.String())
}

func checkName(name string) error {
	unsafe := func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("an identity's name of %d bytes, expected 1 to %d", len(name), maxName)
	case strings.ContainsFunc(name, unsafe):
		return fmt.Errorf("the identity's name %q may have printable ASCII only, without spaces and '#'", name)
	}
	return nil
}

package oidc

import (
	"fmt"
	"strings"
)

// maxName is the maximum length of an identity's name, in bytes.
const maxName = 255

// expand inserts claims into a template such as "{claims.project_path}". Every claim in the
// template must have exactly one value, which is not empty. The result must be one word of
// printable ASCII without '#', because it becomes part of Identity.Owner and of log lines.
func expand(template string, have map[string][]string) (string, error) {
	var name strings.Builder
	for rest := template; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		word, next, closed := strings.Cut(after, "}")
		claim, isClaim := strings.CutPrefix(word, "claims.")
		if strings.Contains(before, "}") || found && !(closed && isClaim) {
			return "", fmt.Errorf("identity template %q: braces are for {claims.NAME} only", template)
		}
		name.WriteString(before)
		if !found {
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

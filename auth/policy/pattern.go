package policy

import (
	"fmt"
	"strings"

	"github.com/berth-registry/berth/auth"
)

// pattern matches names of repositories as an auth.Pattern does, once what the
// identity is has been put in place of {user} and {claims.NAME}. It matches nothing
// for an identity that has no such value, or one that could not be a part of a
// name: nobody can bring a wildcard or another's path along.
type pattern struct {
	text   string
	tokens []token
}

type token struct {
	kind tokenKind
	text string // a literal, or the name of a claim
}

type tokenKind int

const (
	literal    tokenKind = iota
	userName             // {user}
	claimValue           // {claims.NAME}
	star                 // any text without a slash
	dirs                 // nothing, or whole components and the slash after them
	below                // nothing, or a slash and whatever follows; comes last
	everything           // the only one
)

// parsePattern reads a pattern. Its error says what is wrong with it.
func parsePattern(text string) (pattern, error) {
	var plain strings.Builder // the pattern with a letter for each placeholder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "{")
		plain.WriteString(before)
		if !found {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if _, ok := parsePlaceholder(name); !closed || !ok {
			return pattern{}, fmt.Errorf("pattern %q: what is in braces is {user} or {claims.NAME}", text)
		}
		plain.WriteByte('x')
		rest = after
	}
	if _, err := auth.ParsePattern(plain.String()); err != nil {
		if plain.String() != text {
			return pattern{}, fmt.Errorf("pattern %q, with x for what is in braces: %w", text, err)
		}
		return pattern{}, err
	}
	return pattern{text: text, tokens: tokens(text)}, nil
}

// parsePlaceholder reads what stands between braces.
func parsePlaceholder(name string) (token, bool) {
	if name == "user" {
		return token{kind: userName}, true
	}
	claim, ok := strings.CutPrefix(name, "claims.")
	return token{kind: claimValue, text: claim}, ok && isClaimName(claim)
}

// isClaimName says whether a claim's name can stand in braces.
func isClaimName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return s != "" && strings.Trim(s, letters+"_-.:") == ""
}

// tokens takes a well-formed pattern apart.
func tokens(text string) []token {
	if text == "**" {
		return []token{{kind: everything}}
	}
	var list []token
	add := func(t token) {
		if n := len(list); t.kind == literal && n > 0 && list[n-1].kind == literal {
			list[n-1].text += t.text
		} else {
			list = append(list, t)
		}
	}
	parts := strings.Split(text, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "**" && last {
			add(token{kind: below})
			break
		}
		if i > 0 && parts[i-1] != "**" {
			add(token{kind: literal, text: "/"})
		}
		if part == "**" {
			add(token{kind: dirs})
			continue
		}
		for part != "" {
			var t token
			t, part = nextToken(part)
			add(t)
		}
	}
	return list
}

// nextToken takes the first token off a part of a component.
func nextToken(part string) (token, string) {
	switch at := strings.IndexAny(part, "*{"); {
	case at < 0:
		return token{kind: literal, text: part}, ""
	case at > 0:
		return token{kind: literal, text: part[:at]}, part[at:]
	case part[0] == '*':
		return token{kind: star}, part[1:]
	}
	name, rest, _ := strings.Cut(part[1:], "}")
	t, _ := parsePlaceholder(name)
	return t, rest
}

// uses says whether a kind of token is in the pattern.
func (p *pattern) uses(kind tokenKind) bool {
	for _, t := range p.tokens {
		if t.kind == kind {
			return true
		}
	}
	return false
}

// match says whether the pattern matches the whole of a repository's name, for an
// identity. A star stands for the shortest text first. Where the rest does not
// match then, the last star takes a character more, and where it cannot, the last
// "**" a component more. Those before them need not be tried again: whatever they
// could leave to the rest by taking more, the last one leaves too.
func (p *pattern) match(id *auth.Identity, name string) bool {
	if name == "" {
		return false
	}
	at := place{p.tokens, name}
	var lastStar, lastDirs place
	for len(at.tokens) > 0 || at.name != "" {
		ok := false
		if len(at.tokens) > 0 {
			kind := at.tokens[0].kind
			at, ok = at.take(id)
			switch kind {
			case star:
				lastStar = at
			case dirs:
				lastStar, lastDirs = place{}, at
			}
		}
		if !ok {
			if lastStar, ok = lastStar.skipByte(); ok {
				at = lastStar
			} else if lastDirs, ok = lastDirs.skipComponent(); ok {
				at = lastDirs
			} else {
				return false
			}
		}
	}
	return true
}

// place is a point in a match: what is left of the pattern and of the name.
type place struct {
	tokens []token
	name   string
}

// take goes on past the first token, which for a star or "**" stands for nothing.
func (p place) take(id *auth.Identity) (place, bool) {
	t, rest := &p.tokens[0], p.tokens[1:]
	switch t.kind {
	case star, dirs:
		return place{rest, p.name}, true
	case below:
		return place{}, p.name == "" || p.name[0] == '/'
	case everything:
		return place{}, true
	}
	value := t.value(id)
	name, ok := strings.CutPrefix(p.name, value)
	return place{rest, name}, ok && value != ""
}

// skipByte goes on by a character, which must not be a slash.
func (p place) skipByte() (place, bool) {
	if p.name == "" || p.name[0] == '/' {
		return place{}, false
	}
	return place{p.tokens, p.name[1:]}, true
}

// skipComponent goes on to what follows the next slash.
func (p place) skipComponent() (place, bool) {
	_, name, more := strings.Cut(p.name, "/")
	return place{p.tokens, name}, more
}

// value is the text that a token stands for, which may be the identity's; "" if
// that has none which could be part of a name. The names of robots and of CI jobs
// are not a user's, even where they read the same.
func (t *token) value(id *auth.Identity) string {
	switch t.kind {
	case userName:
		if id.Kind == auth.User && isPath(id.Name) && !strings.Contains(id.Name, "/") {
			return id.Name
		}
		return ""
	case claimValue:
		return claimPath(id, t.text)
	}
	return t.text
}

// claimPath is a claim in lower case, if it has one value and that is then a path.
func claimPath(id *auth.Identity, claim string) string {
	values := id.Claims[claim]
	if id.Kind != auth.CI || len(values) != 1 || !isASCII(values[0]) {
		return ""
	}
	if path := strings.ToLower(values[0]); isPath(path) {
		return path
	}
	return ""
}

// isASCII keeps letters out that become a to z only by being made lower case.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

const maxPath = 255

// isPath says what manifest.CheckName says, without an allocation.
func isPath(s string) bool {
	if len(s) > maxPath {
		return false
	}
	for more := true; more; {
		var component string
		if component, s, more = strings.Cut(s, "/"); !isComponent(component) {
			return false
		}
	}
	return true
}

// isComponent says whether s is letters and digits, separated inside by one of
// . _ __ or by dashes.
func isComponent(s string) bool {
	for {
		n := 0
		for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= '0' && s[n] <= '9') {
			n++
		}
		if n == 0 || n == len(s) {
			return n > 0
		}
		s = s[n:]
		switch rest := strings.TrimLeft(s, "-"); {
		case rest != s:
			s = rest
		case strings.HasPrefix(s, "__"):
			s = s[2:]
		case s[0] == '.' || s[0] == '_':
			s = s[1:]
		default:
			return false
		}
	}
}

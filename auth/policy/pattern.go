package policy

import (
	"strings"

	"github.com/berth-registry/berth/auth"
)

// parsePattern reads a pattern in which {user} and {claims.NAME} stand for values of the identity.
func parsePattern(text string) (auth.Pattern, error) {
	return auth.ParseTemplate(text, isPlaceholder, "{user} or {claims.NAME}")
}

// userPlaceholder is the placeholder for the name of a user.
const userPlaceholder = "user"

func isPlaceholder(name string) bool {
	_, ok := claimOf(name)
	return ok || name == userPlaceholder
}

// claimOf returns the claim that a placeholder stands for.
func claimOf(placeholder string) (claim string, ok bool) {
	claim, ok = strings.CutPrefix(placeholder, "claims.")
	return claim, ok && isClaimName(claim)
}

// isClaimName reports whether a claim's name can stand in braces.
func isClaimName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return s != "" && strings.Trim(s, letters+"_-.:") == ""
}

// matches reports whether a pattern matches the whole of a repository's name, for an identity. A
// placeholder without a value, or with one that could not be a part of a name, matches nothing: no
// caller can bring a wildcard or the path of another.
func matches(p *auth.Pattern, id *auth.Identity, name string) bool {
	return p.MatchWith(name, func(placeholder string) string { return placeholderValue(id, placeholder) })
}

// placeholderValue returns the value that an identity gives a placeholder, or "" if it has none that
// could be part of a name. The names of robots and of CI jobs are not a user's, even where they read
// the same.
func placeholderValue(id *auth.Identity, placeholder string) string {
	if placeholder != userPlaceholder {
		return claimPath(id, strings.TrimPrefix(placeholder, "claims."))
	}
	if id.Kind == auth.User && isPath(id.Name) && !strings.Contains(id.Name, "/") {
		return id.Name
	}
	return ""
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

package policy

import (
	"strings"

	"github.com/berth-registry/berth/auth"
)

// parsePattern parses a pattern, in which {user} and {claims.NAME} are placeholders.
func parsePattern(text string) (auth.Pattern, error) {
	return auth.ParseTemplate(text, isPlaceholder, "{user} or {claims.NAME}")
}

// userPlaceholder is the placeholder for the name of a user.
const userPlaceholder = "user"

func isPlaceholder(name string) bool {
	_, ok := placeholderClaim(name)
	return ok || name == userPlaceholder
}

// placeholderClaim returns the name of the claim that a placeholder stands for.
func placeholderClaim(placeholder string) (claim string, ok bool) {
	claim, ok = strings.CutPrefix(placeholder, "claims.")
	return claim, ok && isClaimName(claim)
}

// isClaimName reports whether a claim can be named in braces. Some have a URL or a path as their
// name, such as oidc.circleci.com/project-id.
func isClaimName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return s != "" && strings.Trim(s, letters+"_-.:/") == ""
}

// matchPattern reports whether a pattern matches the whole name of a repository, for an identity. A
// placeholder matches nothing if it has no value, or one that cannot be part of a name. So no
// caller can insert a wildcard or the path of another caller.
func matchPattern(p *auth.Pattern, id *auth.Identity, name string) bool {
	return p.MatchWith(name, func(placeholder string) string { return placeholderValue(id, placeholder) })
}

// placeholderValue returns the value that an identity gives a placeholder, or "" if it has none
// that can be part of a name. {user} has a value for users only: robots and CI jobs may have the
// same names.
func placeholderValue(id *auth.Identity, placeholder string) string {
	if placeholder != userPlaceholder {
		return claimPath(id, strings.TrimPrefix(placeholder, "claims."))
	}
	if id.Kind == auth.User && isRepositoryName(id.Name) && !strings.Contains(id.Name, "/") {
		return id.Name
	}
	return ""
}

// claimPath returns a claim in lower case, or "" if it does not have exactly one value, or if the
// value is not a valid name of a repository.
func claimPath(id *auth.Identity, claim string) string {
	values := id.Claims[claim]
	if id.Kind != auth.CI || len(values) != 1 || !isASCII(values[0]) {
		return ""
	}
	if path := strings.ToLower(values[0]); isRepositoryName(path) {
		return path
	}
	return ""
}

// isASCII reports whether s is ASCII. Some other letters, such as the Kelvin sign, have an ASCII
// letter as their lower case.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

const maxRepositoryName = 255

// isRepositoryName reports whether manifest.CheckName accepts s. Unlike CheckName it does not
// allocate.
func isRepositoryName(s string) bool {
	if len(s) > maxRepositoryName {
		return false
	}
	for more := true; more; {
		var component string
		if component, s, more = strings.Cut(s, "/"); !isNameComponent(component) {
			return false
		}
	}
	return true
}

// isNameComponent reports whether s is a component of a repository's name: letters and digits, with
// the separators . _ __ or dashes between them.
func isNameComponent(s string) bool {
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

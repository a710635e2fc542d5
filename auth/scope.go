package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-registry/berth/manifest"
)

// matchWildcard reports whether pattern matches the whole of s. Each "*" matches any text,
// including none.
func matchWildcard(pattern, s string) bool {
	prefix, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, prefix)
	for ok {
		var part string
		if part, rest, found = strings.Cut(rest, "*"); !found {
			return strings.HasSuffix(s, part)
		}
		// The leftmost match is best: it leaves the most text for the rest of the pattern.
		_, s, ok = strings.Cut(s, part)
	}
	return false
}

// Scope is an upper bound of what a personal or robot token may be used for:
// "repository:team-a/**:pull,push registry:catalog:*".
type Scope []ScopeEntry

// ScopeEntry is one entry of a Scope.
type ScopeEntry struct {
	Catalog bool // the entry is for the catalog; the other fields are unset
	Pattern Pattern
	Actions []Permission // Pull, Push, Delete
}

// ParseScope parses a scope, whose entries are separated by spaces. The action "*" stands for all
// actions. An empty scope is an error, because a token with it could do nothing.
func ParseScope(text string) (Scope, error) {
	var scope Scope
	for word := range strings.FieldsSeq(text) {
		entry, err := parseScopeEntry(word)
		if err != nil {
			return nil, err
		}
		scope = append(scope, entry)
	}
	if len(scope) == 0 {
		return nil, fmt.Errorf("empty scope: expected for example repository:team/**:pull,push or registry:catalog:*")
	}
	return scope, nil
}

func parseScopeEntry(word string) (ScopeEntry, error) {
	if word == "registry:catalog:*" {
		return ScopeEntry{Catalog: true}, nil
	}
	typ, rest, _ := strings.Cut(word, ":")
	pattern, actions, ok := strings.Cut(rest, ":")
	if typ != "repository" || !ok {
		return ScopeEntry{}, fmt.Errorf("scope %q: expected repository:PATTERN:ACTIONS or registry:catalog:*", word)
	}
	p, err := ParsePattern(pattern)
	if err != nil {
		return ScopeEntry{}, fmt.Errorf("scope %q: %w", word, err)
	}
	entry := ScopeEntry{Pattern: p}
	for action := range strings.SplitSeq(actions, ",") {
		switch Permission(action) {
		case Pull, Push, Delete:
			entry.Actions = append(entry.Actions, Permission(action))
		case "*":
			entry.Actions = append(entry.Actions, Pull, Push, Delete)
		default:
			return ScopeEntry{}, fmt.Errorf("scope %q: action %q is none of pull, push, delete, *", word, action)
		}
	}
	return entry, nil
}

// String returns the scope in the form that ParseScope reads.
func (s Scope) String() string {
	var words []string
	for _, e := range s {
		if e.Catalog {
			words = append(words, "registry:catalog:*")
			continue
		}
		var actions []string
		for _, a := range e.Actions {
			actions = append(actions, string(a))
		}
		words = append(words, "repository:"+e.Pattern.String()+":"+strings.Join(actions, ","))
	}
	return strings.Join(words, " ")
}

// Allows reports whether the scope contains a permission. A nil Scope contains all.
func (s Scope) Allows(p Permission, repository string) bool {
	if s == nil || p == None {
		return true
	}
	return slices.ContainsFunc(s, func(e ScopeEntry) bool {
		if e.Catalog || p == Catalog {
			return e.Catalog && p == Catalog
		}
		has := slices.Contains(e.Actions, p) || p == Pull && slices.Contains(e.Actions, Push)
		return has && e.Pattern.Match(repository)
	})
}

// Access is what a registry token allows on one resource, in the form of the Docker registry token
// specification.
type Access struct {
	Type    string   `json:"type"` // "repository" or "registry"
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// String returns the access in the form of a requested scope: "repository:team/app:pull,push".
func (a Access) String() string {
	return a.Type + ":" + a.Name + ":" + strings.Join(a.Actions, ",")
}

// Grants reports whether the access of a registry token includes a permission.
func Grants(access []Access, p Permission, repository string) bool {
	if p == None {
		return true
	}
	return slices.ContainsFunc(access, func(a Access) bool {
		if p == Catalog {
			return a.Type == "registry" && a.Name == "catalog" && slices.Contains(a.Actions, "*")
		}
		return a.Type == "repository" && a.Name == repository &&
			(slices.Contains(a.Actions, string(p)) || p == Pull && slices.Contains(a.Actions, string(Push)))
	})
}

// MaxScopes is the maximum number of scopes in one token request.
const MaxScopes = 256

// ErrTooManyScopes means that a token request has more than MaxScopes scopes.
var ErrTooManyScopes = fmt.Errorf("more than %d scopes", MaxScopes)

// ParseRequestedAccess parses the scopes of a token request. Each value may contain several,
// separated by spaces. Scopes that are malformed or not for this registry are dropped, as the
// specification requires, because clients ask for more than they need. Scopes for the same resource
// are merged, with sorted actions. "*" on a repository stands for pull, push and delete.
func ParseRequestedAccess(values []string) ([]Access, error) {
	var access []Access
	n := 0
	for _, value := range values {
		for word := range strings.FieldsSeq(value) {
			if n++; n > MaxScopes {
				return nil, ErrTooManyScopes
			}
			if a, ok := parseRequestedAccess(word); ok {
				access = mergeAccess(access, a)
			}
		}
	}
	return access, nil
}

func parseRequestedAccess(word string) (Access, bool) {
	typ, rest, ok := strings.Cut(word, ":")
	at := strings.LastIndexByte(rest, ':')
	if !ok || at < 0 {
		return Access{}, false
	}
	if bare, class, ok := strings.Cut(typ, "("); ok && strings.HasSuffix(class, ")") {
		typ = bare // the class of a resource, which the specification has dropped
	}
	a := Access{Type: typ, Name: rest[:at]}
	asked := strings.Split(rest[at+1:], ",")
	switch {
	case a.Type == "registry" && a.Name == "catalog" && slices.Contains(asked, "*"):
		a.Actions = []string{"*"}
	case a.Type == "repository" && manifest.CheckName(a.Name) == nil:
		for _, p := range []Permission{Delete, Pull, Push} {
			if slices.Contains(asked, string(p)) || slices.Contains(asked, "*") {
				a.Actions = append(a.Actions, string(p))
			}
		}
	}
	return a, len(a.Actions) > 0
}

// mergeAccess adds an access to a list that has each resource once.
func mergeAccess(list []Access, a Access) []Access {
	at := slices.IndexFunc(list, func(b Access) bool { return a.Type == b.Type && a.Name == b.Name })
	if at < 0 {
		return append(list, a)
	}
	for _, action := range a.Actions {
		if !slices.Contains(list[at].Actions, action) {
			list[at].Actions = append(list[at].Actions, action)
		}
	}
	slices.Sort(list[at].Actions)
	return list
}

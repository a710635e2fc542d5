package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-registry/berth/manifest"
)

// MatchWord reports whether a pattern in which each "*" stands for any text, the
// empty one too, matches the whole of s.
func MatchWord(pattern, s string) bool {
	first, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	for ok {
		var part string
		if part, rest, starred = strings.Cut(rest, "*"); !starred {
			return strings.HasSuffix(s, part)
		}
		// The leftmost place is as good as any: what follows has the more left.
		_, s, ok = strings.Cut(s, part)
	}
	return false
}

// Scope is a list of what may be done at most, as the holder of a personal or
// robot token has it: "repository:team-a/**:pull,push registry:catalog:*".
type Scope []ScopeEntry

// ScopeEntry is one entry of a Scope.
type ScopeEntry struct {
	Catalog bool // the catalog; the rest is of repositories
	Pattern Pattern
	Actions []Permission // Pull, Push, Delete
}

// ParseScope reads a scope whose entries are separated by spaces. The action "*"
// is every one. An empty scope is an error: it would be a token for nothing.
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

// String is the scope as ParseScope reads it.
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

// Allows reports whether a permission is within the scope. A nil one has no bounds.
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

// Access is what a token gives on one resource, in the words of the Docker
// registry's token specification.
type Access struct {
	Type    string   `json:"type"` // "repository" or "registry"
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// String is the access as a scope: "repository:team/app:pull,push".
func (a Access) String() string {
	return a.Type + ":" + a.Name + ":" + strings.Join(a.Actions, ",")
}

// Grants reports whether a token with this access may do it.
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

// MaxScopes is the most scopes that one request may ask for.
const MaxScopes = 256

// ErrTooManyScopes says that a request asks for more than MaxScopes.
var ErrTooManyScopes = fmt.Errorf("more than %d scopes", MaxScopes)

// ParseRequested reads the scopes that a client asks a token for: each value may
// hold several, separated by spaces. What cannot be understood, or is not this
// registry's, is dropped, as the specification has it: clients ask for more than
// they need, and get what there is. Entries of one resource are merged, their actions sorted;
// "*" on a repository stands for pull, push and delete.
func ParseRequested(values []string) ([]Access, error) {
	var access []Access
	n := 0
	for _, value := range values {
		for word := range strings.FieldsSeq(value) {
			if n++; n > MaxScopes {
				return nil, ErrTooManyScopes
			}
			if a, ok := parseRequested(word); ok {
				access = merge(access, a)
			}
		}
	}
	return access, nil
}

func parseRequested(word string) (Access, bool) {
	typ, rest, ok := strings.Cut(word, ":")
	at := strings.LastIndexByte(rest, ':')
	if !ok || at < 0 {
		return Access{}, false
	}
	if bare, class, ok := strings.Cut(typ, "("); ok && strings.HasSuffix(class, ")") {
		typ = bare // a resource's class is what the specification gave up
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

// merge adds an access to a list in which each resource stands once.
func merge(list []Access, a Access) []Access {
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

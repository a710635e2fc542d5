package policy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/auth"
)

// who is the set of identities that a rule is for: those that match a term of included and no term
// of excluded.
type who struct{ included, excluded []term }

// term is one word of a rule's who.
type term struct {
	kind    termKind
	name    string  // of the user, robot, group or issuer
	members members // for a group: the users that the file puts in it
	text    string  // as written, without "!"
}

// members is the set of the names of a group's users.
type members map[string]struct{}

type termKind string

const (
	anonymous     termKind = "anonymous"
	authenticated termKind = "authenticated" // users and robots
	user          termKind = "user"
	robot         termKind = "robot"
	group         termKind = "group"
	issuer        termKind = "oidc"
)

// matches reports whether the rule is for an identity.
func (w *who) matches(id *auth.Identity) bool {
	return firstMatch(w.included, id) != nil && firstMatch(w.excluded, id) == nil
}

// hasKind reports whether a term of the given kind is included.
func (w *who) hasKind(kind termKind) bool {
	return slices.ContainsFunc(w.included, func(t term) bool { return t.kind == kind })
}

// firstMatch returns the first term that matches id, or nil.
func firstMatch(terms []term, id *auth.Identity) *term {
	for i := range terms {
		if terms[i].matches(id) {
			return &terms[i]
		}
	}
	return nil
}

func (t *term) matches(id *auth.Identity) bool {
	switch t.kind {
	case anonymous:
		return id.Kind == auth.Anonymous
	case authenticated:
		return id.Kind == auth.User || id.Kind == auth.Robot
	case user:
		return id.Kind == auth.User && id.Name == t.name
	case robot:
		return id.Kind == auth.Robot && id.Name == t.name
	case issuer:
		return id.Kind == auth.CI && id.Issuer == t.name
	case group:
		return id.Kind != auth.Anonymous && (slices.Contains(id.Groups, t.name) || t.hasMember(id))
	}
	return false
}

// hasMember reports whether the policy file puts an identity in the group. It does so for users
// only: robots and jobs may have the same names.
func (t *term) hasMember(id *auth.Identity) bool {
	if id.Kind != auth.User {
		return false
	}
	_, ok := t.members[id.Name]
	return ok
}

func (f *file) readWho(n *yaml.Node) who {
	var w who
	included := make(map[string]bool)
	words := f.nonEmptyWords(n, "who")
	for _, word := range words {
		included[word.text] = true
	}
	for _, word := range words {
		text, not := strings.CutPrefix(word.text, "!")
		t, err := f.parseTerm(text)
		switch {
		case err != nil:
			f.addFaultf(word.line, "who: %v", err)
		case not && included[text]:
			f.addFaultf(word.line, "who: %s is both included and excluded", text)
		case not:
			w.excluded = append(w.excluded, t)
		default:
			w.included = append(w.included, t)
		}
	}
	return w
}

// parseTerm parses one word of who, without "!".
func (f *file) parseTerm(text string) (term, error) {
	t := term{text: text}
	kind, name, named := strings.Cut(text, ":")
	t.kind, t.name = termKind(kind), name
	switch {
	case !named && (t.kind == anonymous || t.kind == authenticated):
		return t, nil
	case named && (t.kind == user || t.kind == robot || t.kind == group):
		if t.kind == group {
			t.members = f.groups[name]
		}
		return t, auth.CheckAccountName(name)
	case named && t.kind == issuer:
		return t, f.checkIssuer(name)
	}
	return t, fmt.Errorf("%q is none of anonymous, authenticated, user:NAME, robot:NAME, group:NAME, oidc:ISSUER", text)
}

func (f *file) checkIssuer(name string) error {
	if slices.ContainsFunc(f.issuers, func(i auth.Issuer) bool { return i.Name == name }) {
		return nil
	}
	var names []string
	for _, i := range f.issuers {
		names = append(names, i.Name)
	}
	if len(names) == 0 {
		return fmt.Errorf("oidc:%s: the section issuers has none of that name, nor any other", name)
	}
	return fmt.Errorf("oidc:%s: the section issuers has %s only", name, strings.Join(names, ", "))
}

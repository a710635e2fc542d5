package policy

import (
	"slices"

	"github.com/berth-registry/berth/auth"
)

// who is whom a rule is for: those whom one of any covers, and none of not.
type who struct{ any, not []term }

// term is one word of who.
type term struct {
	kind    termKind
	name    string              // of the user, robot, group or issuer
	members map[string]struct{} // users whom the file puts in the group
	text    string              // as written, without "!"
}

type termKind string

const (
	anonymous     termKind = "anonymous"
	authenticated termKind = "authenticated" // users and robots
	user          termKind = "user"
	robot         termKind = "robot"
	group         termKind = "group"
	issuer        termKind = "oidc"
)

// covers says whether the rule is for an identity.
func (w *who) covers(id *auth.Identity) bool {
	return find(w.any, id) != nil && find(w.not, id) == nil
}

// names says whether a kind of term is among those whom the rule is for.
func (w *who) names(kind termKind) bool {
	return slices.ContainsFunc(w.any, func(t term) bool { return t.kind == kind })
}

// find is the first of terms that covers id, or nil.
func find(terms []term, id *auth.Identity) *term {
	for i := range terms {
		if terms[i].covers(id) {
			return &terms[i]
		}
	}
	return nil
}

func (t *term) covers(id *auth.Identity) bool {
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

// hasMember says whether the file itself puts an identity in the group. It can
// only do so with users: names of robots and jobs may be the same as theirs.
func (t *term) hasMember(id *auth.Identity) bool {
	if id.Kind != auth.User {
		return false
	}
	_, is := t.members[id.Name]
	return is
}

package policy

import (
	"crypto/sha256"
	"net/netip"

	"github.com/berth-registry/berth/auth"
)

// view is a policy restricted to the rules about pulling that match one caller.
type view struct {
	id             auth.Identity
	denies, allows []*rule
}

// View implements auth.Policy. Few of the rules match one caller, so asking a View about many
// repositories is much cheaper than calling Decide for each.
func (p *Policy) View(id auth.Identity, from netip.Addr) auth.View {
	if !isKnownKind(id.Kind) || !id.AllowedFrom(from) {
		return auth.View{}
	}
	q := query{id: &id, from: from, action: pull}
	v := &view{id: id, denies: q.rulesForCaller(p.denies[pull]), allows: q.rulesForCaller(p.allows[pull])}
	if len(v.allows) == 0 {
		return auth.View{}
	}
	return auth.View{Key: v.key(), Allows: v.contains}
}

// rulesForCaller returns the rules that match the caller.
func (q *query) rulesForCaller(rules []*rule) []*rule {
	var list []*rule
	for _, r := range rules {
		if r.matchesCaller(q) {
			list = append(list, r)
		}
	}
	return list
}

// contains reports whether Decide allows pulling from a repository.
func (v *view) contains(repository string) bool {
	if !v.id.Scope.Allows(auth.Pull, repository) {
		return false
	}
	q := query{id: &v.id, action: pull, repository: repository}
	return !q.anyMatchesRepository(v.denies) && q.anyMatchesRepository(v.allows)
}

// anyMatchesRepository reports whether one of the rules matches the repository.
func (q *query) anyMatchesRepository(rules []*rule) bool {
	for _, r := range rules {
		if r.matchesRepository(q) {
			return true
		}
	}
	return false
}

// key returns a hash of everything that contains depends on: the scope of the credential, the
// patterns that deny and those that allow, and the values of their placeholders. No part can
// contain the control characters that separate the parts.
func (v *view) key() string {
	var text []byte
	if v.id.Scope != nil {
		text = append(text, "\x01"+v.id.Scope.String()...)
	}
	text = appendPatterns(text, v.denies, &v.id)
	text = appendPatterns(append(text, '\x02'), v.allows, &v.id)
	sum := sha256.Sum256(text)
	return string(sum[:])
}

// appendPatterns appends the patterns of rules, each with the values of its placeholders.
func appendPatterns(text []byte, rules []*rule, id *auth.Identity) []byte {
	for _, r := range rules {
		for i := range r.repos {
			text = append(text, "\x03"+r.repos[i].String()...)
			for _, name := range r.repos[i].Placeholders() {
				text = append(text, "\x04"+placeholderValue(id, name)...)
			}
		}
	}
	return text
}

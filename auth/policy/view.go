package policy

import (
	"crypto/sha256"
	"net/netip"

	"github.com/berth-registry/berth/auth"
)

// view is a policy as far as it can be decided before a repository is known: the
// rules on pulling that are for an identity at its address.
type view struct {
	id             auth.Identity
	denies, allows []*rule
}

// View implements auth.Policy. Of 300 rules few are for one caller: asking a View of
// many repositories costs much less than asking Decide of each.
func (p *Policy) View(id auth.Identity, from netip.Addr) auth.View {
	if !known(id.Kind) || !id.ComesFrom(from) {
		return auth.View{}
	}
	q := query{id: &id, from: from, action: pull}
	v := &view{id: id, denies: q.concerned(p.denies[pull]), allows: q.concerned(p.allows[pull])}
	if len(v.allows) == 0 {
		return auth.View{}
	}
	return auth.View{Key: v.key(), Allows: v.has}
}

// concerned returns the rules that are for the identity and whose conditions hold.
func (q *query) concerned(rules []*rule) []*rule {
	var list []*rule
	for _, r := range rules {
		if r.concerns(q) {
			list = append(list, r)
		}
	}
	return list
}

// has reports whether Decide allows pulling from a repository.
func (v *view) has(repository string) bool {
	if !v.id.Scope.Allows(auth.Pull, repository) {
		return false
	}
	q := query{id: &v.id, action: pull, repository: repository}
	return !q.covered(v.denies) && q.covered(v.allows)
}

// covered reports whether one of the rules is for the repository.
func (q *query) covered(rules []*rule) bool {
	for _, r := range rules {
		if r.covers(q) {
			return true
		}
	}
	return false
}

// key is a digest of all that has looks at: the scope of the credential, the patterns
// that deny and those that allow, and what these have of the identity. No part of it can
// hold the control characters that stand between the parts.
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

// appendPatterns appends the patterns of rules, each with the values that it takes from
// an identity.
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

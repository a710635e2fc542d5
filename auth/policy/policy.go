// Package policy decides who may do what in which repository, by a file of rules
// that add up: whoever no rule allows something may not do it, and a rule that
// denies beats all that allow. The file is read whole, checked and compiled into
// an immutable Policy; a Store holds the one in force and replaces it when the
// file changes.
package policy

import (
	"net/netip"
	"slices"

	"github.com/berth-registry/berth/auth"
)

// Policy is a compiled policy file. It is immutable and safe for concurrent use.
type Policy struct {
	rules   []*rule
	allows  [actions][]*rule // the rules that allow each action, in the file's order
	denies  [actions][]*rule
	issuers []auth.Issuer
	groups  map[string]members // of the file
}

// What a Decision says where no rule decided.
const (
	notAllowed   = "no rule allows it"
	outsideScope = "outside the token's scope"
	elsewhere    = "the token may not be used from this address"
	needsNothing = "needs no permission"
	nobody       = "nobody is identified"
	unknown      = "no such action"
)

// action is a permission as an index.
type action int

const (
	pull action = iota
	push
	remove
	catalog
	actions
)

func actionOf(p auth.Permission) (action, bool) {
	switch p {
	case auth.Pull:
		return pull, true
	case auth.Push:
		return push, true
	case auth.Delete:
		return remove, true
	case auth.Catalog:
		return catalog, true
	}
	return 0, false
}

// Default is the policy where there is no file: users and robots may do
// everything, all others nothing.
func Default() *Policy {
	everything, _ := parsePattern("**")
	return compile([]*rule{{
		name:    "default policy",
		who:     who{any: []term{{kind: authenticated, text: "authenticated"}}},
		repos:   []auth.Pattern{everything},
		actions: []auth.Permission{auth.Pull, auth.Push, auth.Delete, auth.Catalog},
	}})
}

// compile files the rules under the actions that they speak of. Who may push may
// pull; who may not pull may not push.
func compile(rules []*rule) *Policy {
	p := &Policy{rules: rules}
	for _, r := range rules {
		for a := range actions {
			switch {
			case !r.speaksOf(a):
			case r.deny:
				p.denies[a] = append(p.denies[a], r)
			default:
				p.allows[a] = append(p.allows[a], r)
			}
		}
	}
	return p
}

// Decide implements auth.Policy. The rule it names is the first in the file that
// decides. It allocates nothing, unless a claim that it substitutes has
// upper-case letters.
func (p *Policy) Decide(id auth.Identity, from netip.Addr, perm auth.Permission, repository string) auth.Decision {
	if perm == auth.None {
		return auth.Decision{Allowed: true, Rule: needsNothing}
	}
	a, ok := actionOf(perm)
	if !ok {
		return auth.Decision{Rule: unknown}
	}
	if !known(id.Kind) {
		return auth.Decision{Rule: nobody}
	}
	if !id.Scope.Allows(perm, repository) {
		return auth.Decision{Rule: outsideScope}
	}
	if !id.ComesFrom(from) {
		return auth.Decision{Rule: elsewhere}
	}
	q := query{id: &id, from: from, action: a, repository: repository}
	for _, r := range p.denies[a] {
		if r.applies(&q) {
			return auth.Decision{Rule: r.name}
		}
	}
	for _, r := range p.allows[a] {
		if r.applies(&q) {
			return auth.Decision{Allowed: true, Rule: r.name}
		}
	}
	return auth.Decision{Rule: notAllowed}
}

// known says whether rules can speak of a kind of identity.
func known(k auth.Kind) bool {
	return k == auth.Anonymous || k == auth.User || k == auth.Robot || k == auth.CI
}

// Anonymous implements auth.Policy: it says whether a rule allows them anything,
// be it under a condition.
func (p *Policy) Anonymous() bool {
	return slices.ContainsFunc(p.rules, func(r *rule) bool {
		return !r.deny && r.who.names(anonymous)
	})
}

// Issuers are those of the file, in its order.
func (p *Policy) Issuers() []auth.Issuer { return slices.Clone(p.issuers) }

// RuleNetwork is a network that a rule has as a condition.
type RuleNetwork struct {
	Rule    string
	Network netip.Prefix
}

// Networks returns the networks that rules have as conditions, in the order of the file.
func (p *Policy) Networks() []RuleNetwork {
	var list []RuleNetwork
	for _, r := range p.rules {
		for _, network := range r.when.from {
			list = append(list, RuleNetwork{r.name, network})
		}
	}
	return list
}

// Groups are all the groups that rules may find an identity in: its own, and those
// that the file puts it in. They are sorted, and not nil.
func (p *Policy) Groups(id auth.Identity) []string {
	groups := append([]string{}, id.Groups...)
	for name, members := range p.groups {
		if _, is := members[id.Name]; is && id.Kind == auth.User {
			groups = append(groups, name)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

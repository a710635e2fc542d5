// Package policy decides by a file of rules who may do what in which repository. What no rule
// allows is denied, and a rule that denies takes precedence over all that allow. The file is
// parsed, checked and compiled into an immutable Policy. A Store holds the current Policy and
// replaces it when the file changes.
package policy

import (
	"net/netip"
	"slices"

	"github.com/berth-registry/berth/auth"
)

// Policy is a compiled policy file. It is immutable and safe for concurrent use.
type Policy struct {
	rules   []*rule
	allows  [numActions][]*rule // by action, in the order of the file
	denies  [numActions][]*rule
	issuers []auth.Issuer
	groups  map[string]members // of the file
}

// The reasons of decisions that no rule made.
const (
	reasonNoRule          = "no rule allows it"
	reasonScope           = "outside the token's scope"
	reasonNetwork         = "the token may not be used from this address"
	reasonNone            = "needs no permission"
	reasonUnauthenticated = "nobody is identified"
	reasonUnknownAction   = "no such action"
)

// action is a permission as an array index.
type action int

const (
	pull action = iota
	push
	remove
	catalog
	numActions
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

// Default returns the policy of a registry without a policy file: users and robots may do
// everything, other callers nothing.
func Default() *Policy {
	everything, _ := parsePattern("**")
	return compile([]*rule{{
		name:    "default policy",
		who:     who{included: []term{{kind: authenticated, text: "authenticated"}}},
		repos:   []auth.Pattern{everything},
		actions: []auth.Permission{auth.Pull, auth.Push, auth.Delete, auth.Catalog},
	}})
}

// compile groups the rules by the actions that they decide.
func compile(rules []*rule) *Policy {
	p := &Policy{rules: rules}
	for _, r := range rules {
		for a := range numActions {
			switch {
			case !r.matchesAction(a):
			case r.deny:
				p.denies[a] = append(p.denies[a], r)
			default:
				p.allows[a] = append(p.allows[a], r)
			}
		}
	}
	return p
}

// Decide implements auth.Policy. If several rules decide, it names the first one in the file. It
// allocates only if it has to lower-case the value of a claim.
func (p *Policy) Decide(id auth.Identity, from netip.Addr, perm auth.Permission, repository string) auth.Decision {
	if perm == auth.None {
		return auth.Decision{Allowed: true, Rule: reasonNone}
	}
	a, ok := actionOf(perm)
	if !ok {
		return auth.Decision{Rule: reasonUnknownAction}
	}
	if !isKnownKind(id.Kind) {
		return auth.Decision{Rule: reasonUnauthenticated}
	}
	if !id.Scope.Allows(perm, repository) {
		return auth.Decision{Rule: reasonScope}
	}
	if !id.AllowedFrom(from) {
		return auth.Decision{Rule: reasonNetwork}
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
	return auth.Decision{Rule: reasonNoRule}
}

// isKnownKind reports whether rules can be for identities of a kind.
func isKnownKind(k auth.Kind) bool {
	return k == auth.Anonymous || k == auth.User || k == auth.Robot || k == auth.CI
}

// AllowsAnonymous implements auth.Policy. It reports whether a rule allows anonymous callers
// anything, even if only under a condition.
func (p *Policy) AllowsAnonymous() bool {
	return slices.ContainsFunc(p.rules, func(r *rule) bool {
		return !r.deny && r.who.hasKind(anonymous)
	})
}

// Issuers returns the issuers of the file, in its order.
func (p *Policy) Issuers() []auth.Issuer { return slices.Clone(p.issuers) }

// RuleNetwork is a network in the conditions of a rule.
type RuleNetwork struct {
	Rule    string
	Network netip.Prefix
}

// Networks returns the networks in the conditions of all rules, in the order of the file.
func (p *Policy) Networks() []RuleNetwork {
	var list []RuleNetwork
	for _, r := range p.rules {
		for _, network := range r.when.from {
			list = append(list, RuleNetwork{r.name, network})
		}
	}
	return list
}

// Groups returns all groups of an identity: its own, and those of the policy file. They are sorted;
// the result is never nil.
func (p *Policy) Groups(id auth.Identity) []string {
	groups := append([]string{}, id.Groups...)
	for name, members := range p.groups {
		if _, ok := members[id.Name]; ok && id.Kind == auth.User {
			groups = append(groups, name)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

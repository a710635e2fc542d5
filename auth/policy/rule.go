package policy

import (
	"net/netip"
	"slices"

	"github.com/berth-registry/berth/auth"
)

// rule is one rule of a file. It allows its actions, or it denies them.
type rule struct {
	name    string
	line    int
	who     who
	when    when
	repos   []pattern
	deny    bool
	actions []auth.Permission // as written: see speaksOf for what they imply
}

// query is what a policy is asked.
type query struct {
	id         *auth.Identity
	from       netip.Addr
	action     action
	repository string
}

// speaksOf says whether the rule bears on an action: on pull also if it allows
// push, on push also if it denies pull.
func (r *rule) speaksOf(a action) bool {
	return slices.ContainsFunc(r.actions, func(p auth.Permission) bool {
		own, _ := actionOf(p)
		return own == a || own == push && a == pull && !r.deny || own == pull && a == push && r.deny
	})
}

// applies says whether a rule that speaks of the query's action decides it. The
// catalog is of no repository: rules that allow it do so wherever they are for,
// and those that deny it are for all.
func (r *rule) applies(q *query) bool {
	return r.who.covers(q.id) && r.when.holds(q) && (q.action == catalog || r.covers(q))
}

// covers says whether the rule is for the query's repository.
func (r *rule) covers(q *query) bool {
	for i := range r.repos {
		if r.repos[i].match(q.id, q.repository) {
			return true
		}
	}
	return false
}

package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/auth"
)

// rule is one rule of a file. It either allows or denies its actions.
//
// A rule decides a query if it passes three checks: matchesAction (done once, by compile),
// matchesCaller (who and when) and matchesRepository (repos). applies makes the latter two.
type rule struct {
	name    string
	line    int
	who     who
	when    when
	repos   []auth.Pattern
	deny    bool
	actions []auth.Permission // as written, without the implied ones: see matchesAction
}

// query is a question to a policy.
type query struct {
	id         *auth.Identity
	from       netip.Addr
	action     action
	repository string
}

// matchesAction reports whether the rule decides an action. Allowing push implies allowing pull,
// and denying pull implies denying push.
func (r *rule) matchesAction(a action) bool {
	return slices.ContainsFunc(r.actions, func(p auth.Permission) bool {
		own, _ := actionOf(p)
		return own == a || own == push && a == pull && !r.deny || own == pull && a == push && r.deny
	})
}

// applies reports whether a rule that matches the query's action also matches its caller and its
// repository. The catalog belongs to no repository: to allow it, a rule may be for any repository;
// to deny it, a rule must be for all.
func (r *rule) applies(q *query) bool {
	return r.matchesCaller(q) && (q.action == catalog || r.matchesRepository(q))
}

// matchesCaller reports whether the rule is for the query's identity and its conditions are met.
func (r *rule) matchesCaller(q *query) bool { return r.who.matches(q.id) && r.when.holds(q) }

// matchesRepository reports whether one of the rule's patterns matches the query's repository.
func (r *rule) matchesRepository(q *query) bool {
	for i := range r.repos {
		if matchPattern(&r.repos[i], q.id, q.repository) {
			return true
		}
	}
	return false
}

func (f *file) readRules(n *yaml.Node) {
	nodes := f.items(n, "policy")
	switch {
	case n.Kind == yaml.SequenceNode && len(nodes) == 0:
		f.addFaultf(n.Line, "policy is empty, so nobody may do anything")
	case len(nodes) > maxRules:
		f.addFaultf(n.Line, "policy has %d rules, at most %d are allowed", len(nodes), maxRules)
		return
	}
	lines := make(map[string]int) // of each rule's name
	for _, node := range nodes {
		r := f.readRule(node)
		if first, twice := lines[r.name]; twice && r.name != "" {
			f.addFaultf(r.line, "the name %s is that of the rule in line %d already", r.name, first)
		}
		lines[r.name] = r.line
		f.rules = append(f.rules, r)
	}
}

// readRule reads one rule. If its parts are valid, it also checks the rule as a whole.
func (f *file) readRule(n *yaml.Node) *rule {
	r := &rule{line: n.Line}
	var allow, deny *yaml.Node
	faults := len(f.faults)
	f.fields(n, "a rule",
		field{"name", func(v *yaml.Node) { r.name, _ = f.text(v, "name") }},
		field{"who", func(v *yaml.Node) { r.who = f.readWho(v) }},
		field{"when", func(v *yaml.Node) { r.when = f.readWhen(v) }},
		field{"repos", func(v *yaml.Node) { r.repos = f.readRepos(v) }},
		field{"allow", func(v *yaml.Node) { allow, r.actions = v, f.readActions(v, "allow", true) }},
		field{"deny", func(v *yaml.Node) { deny, r.actions = v, f.readActions(v, "deny", true) }},
	)
	r.deny = deny != nil
	if len(f.faults) > faults {
		return r
	}
	label := "rule " + r.name
	switch {
	case r.name == "":
		f.addFaultf(r.line, "a rule has no name")
	case len(r.who.included)+len(r.who.excluded) == 0:
		f.addFaultf(r.line, "%s has no who", label)
	case len(r.repos) == 0:
		f.addFaultf(r.line, "%s has no repos", label)
	case allow == nil && deny == nil:
		f.addFaultf(r.line, "%s has neither allow nor deny", label)
	case allow != nil && deny != nil:
		f.addFaultf(r.line, "%s has both allow and deny: make two rules of it", label)
	default:
		if problem := f.ineffective(r); problem != "" {
			f.addFaultf(r.line, "%s %s", label, problem)
		}
	}
	return r
}

// ineffective returns why a valid rule cannot have the effect that it seems to have, or "".
func (f *file) ineffective(r *rule) string {
	forUsers := r.who.hasKind(authenticated) || r.who.hasKind(user) || r.who.hasKind(group)
	forJobs := r.who.hasKind(issuer)
	uses := func(is func(placeholder string) bool) bool {
		return slices.ContainsFunc(r.repos, func(p auth.Pattern) bool { return slices.ContainsFunc(p.Placeholders(), is) })
	}
	isUser := func(placeholder string) bool { return placeholder == userPlaceholder }
	isClaim := func(placeholder string) bool { return placeholder != userPlaceholder }
	switch {
	case len(r.who.included) == 0:
		return "only excludes, in who, and so is for nobody: add whom it is for, such as authenticated"
	case uses(isUser) && !forUsers:
		return "has {user}, which users alone have, and who names none"
	case uses(isClaim) && !forJobs:
		return "has {claims.…}, which CI jobs alone have, and who names no oidc: issuer"
	case r.when.claims != nil && !forJobs:
		return "wants claims, which CI jobs alone have, and who names no oidc: issuer"
	case r.deny && slices.Contains(r.actions, auth.Catalog) &&
		!slices.ContainsFunc(r.repos, func(p auth.Pattern) bool { return p.String() == "**" }):
		return `denies the catalog, which is one for all repositories: expected repos: ["**"]; what may not be pulled is never listed`
	}
	return f.checkPinned(r)
}

// checkPinned returns a fault if a rule allows every job of an issuer, or "". The jobs of a public
// issuer belong to anyone.
func (f *file) checkPinned(r *rule) string {
	if r.deny || pinsOwner(claimMap(r.when.claims)) {
		return ""
	}
	for _, t := range r.who.included {
		pins := func(i auth.Issuer) bool { return i.Name == t.name && pinsOwner(i.Match) }
		if t.kind == issuer && !slices.ContainsFunc(f.issuers, pins) {
			return fmt.Sprintf("is for every job of %s, with any owner: its when, or the issuer's match, needs a claim "+
				"that names the owner or the repository, such as the owner's id; a claim that any job can have, "+
				"or a pattern with a * in place of the owner, names none", t.text)
		}
	}
	return ""
}

func (f *file) readRepos(n *yaml.Node) []auth.Pattern {
	var list []auth.Pattern
	for _, w := range f.nonEmptyWords(n, "repos") {
		p, err := parsePattern(w.text)
		if err != nil {
			f.addFaultf(w.line, "repos: %v", err)
			continue
		}
		list = append(list, p)
	}
	return list
}

// readActions reads a list of actions. If nonEmpty is true, an empty list is a fault.
func (f *file) readActions(n *yaml.Node, what string, nonEmpty bool) []auth.Permission {
	words := f.words
	if nonEmpty {
		words = f.nonEmptyWords
	}
	var list []auth.Permission
	for _, w := range words(n, what) {
		if _, ok := actionOf(auth.Permission(w.text)); !ok {
			f.addFaultf(w.line, "%s: unknown action %s: expected pull, push, delete or catalog", what, w.text)
			continue
		}
		list = append(list, auth.Permission(w.text))
	}
	return list
}

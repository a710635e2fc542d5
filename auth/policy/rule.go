package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/auth"
)

// rule is one rule of a file. It allows its actions, or it denies them.
type rule struct {
	name    string
	line    int
	who     who
	when    when
	repos   []auth.Pattern
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
	return r.concerns(q) && (q.action == catalog || r.covers(q))
}

// concerns says whether the rule is for the query's identity and its conditions hold.
func (r *rule) concerns(q *query) bool { return r.who.covers(q.id) && r.when.holds(q) }

// covers says whether the rule is for the query's repository.
func (r *rule) covers(q *query) bool {
	for i := range r.repos {
		if matches(&r.repos[i], q.id, q.repository) {
			return true
		}
	}
	return false
}

func (f *file) readRules(n *yaml.Node) {
	nodes := f.items(n, "policy")
	switch {
	case n.Kind == yaml.SequenceNode && len(nodes) == 0:
		f.wrong(n.Line, "policy is empty, so nobody may do anything")
	case len(nodes) > maxRules:
		f.wrong(n.Line, "policy has %d rules, at most %d are allowed", len(nodes), maxRules)
		return
	}
	lines := make(map[string]int) // of each rule's name
	for _, node := range nodes {
		r := f.readRule(node)
		if first, twice := lines[r.name]; twice && r.name != "" {
			f.wrong(r.line, "the name %s is that of the rule in line %d already", r.name, first)
		}
		lines[r.name] = r.line
		f.rules = append(f.rules, r)
	}
}

// readRule reads one rule and says what is wrong with it on the whole, unless its
// parts are.
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
		f.wrong(r.line, "a rule has no name")
	case len(r.who.any)+len(r.who.not) == 0:
		f.wrong(r.line, "%s has no who", label)
	case len(r.repos) == 0:
		f.wrong(r.line, "%s has no repos", label)
	case allow == nil && deny == nil:
		f.wrong(r.line, "%s has neither allow nor deny", label)
	case allow != nil && deny != nil:
		f.wrong(r.line, "%s has both allow and deny: make two rules of it", label)
	default:
		if problem := f.useless(r); problem != "" {
			f.wrong(r.line, "%s %s", label, problem)
		}
	}
	return r
}

// useless says why a rule whose parts are right cannot do what it seems to.
func (f *file) useless(r *rule) string {
	ofUsers := r.who.names(authenticated) || r.who.names(user) || r.who.names(group)
	ofJobs := r.who.names(issuer)
	uses := func(is func(placeholder string) bool) bool {
		return slices.ContainsFunc(r.repos, func(p auth.Pattern) bool { return slices.ContainsFunc(p.Placeholders(), is) })
	}
	isUser := func(placeholder string) bool { return placeholder == userPlaceholder }
	isClaim := func(placeholder string) bool { return placeholder != userPlaceholder }
	switch {
	case len(r.who.any) == 0:
		return "only excludes, in who, and so is for nobody: add whom it is for, such as authenticated"
	case uses(isUser) && !ofUsers:
		return "has {user}, which users alone have, and who names none"
	case uses(isClaim) && !ofJobs:
		return "has {claims.…}, which CI jobs alone have, and who names no oidc: issuer"
	case r.when.claims != nil && !ofJobs:
		return "wants claims, which CI jobs alone have, and who names no oidc: issuer"
	case r.deny && slices.Contains(r.actions, auth.Catalog) && !slices.ContainsFunc(r.repos, func(p auth.Pattern) bool { return p.String() == "**" }):
		return `denies the catalog, which is one for all repositories: expected repos: ["**"]; what may not be pulled is never listed`
	}
	return f.unpinned(r)
}

// unpinned says that a rule lets in every job that an issuer vouches for: on a
// public one, everybody's.
func (f *file) unpinned(r *rule) string {
	if r.deny || pins(claimMap(r.when.claims)) {
		return ""
	}
	for _, t := range r.who.any {
		if t.kind == issuer && !slices.ContainsFunc(f.issuers, func(i auth.Issuer) bool { return i.Name == t.name && pins(i.Match) }) {
			return fmt.Sprintf("is for every job of %s, whoever's it is: want claims in its when, or in the issuer's match, that say whose, such as the owner's id", t.text)
		}
	}
	return ""
}

// anybodys are claims of the services that say of a job what it runs on and for, which
// everybody can bring about, and not whose it is.
var anybodys = []string{
	"base_ref", "environment", "environment_protected", "event_name", "head_ref", "job_source", "pipeline_source", "project_visibility",
	"ref", "ref_path", "ref_protected", "ref_type", "repository_visibility", "run_attempt", "runner_environment", "workflow",
}

// pins says whether one of the wanted claims says whose a job is, and wants something of it.
func pins(want map[string][]string) bool {
	for name, patterns := range want {
		anything := slices.ContainsFunc(patterns, func(p string) bool { return strings.Trim(p, "*") == "" })
		if !anything && !slices.Contains(anybodys, name) {
			return true
		}
	}
	return false
}

func (f *file) readRepos(n *yaml.Node) []auth.Pattern {
	var list []auth.Pattern
	for _, w := range f.someWords(n, "repos") {
		p, err := parsePattern(w.text)
		if err != nil {
			f.wrong(w.line, "repos: %v", err)
			continue
		}
		list = append(list, p)
	}
	return list
}

// readActions reads a list of actions, which some lists must have.
func (f *file) readActions(n *yaml.Node, what string, some bool) []auth.Permission {
	words := f.words
	if some {
		words = f.someWords
	}
	var list []auth.Permission
	for _, w := range words(n, what) {
		if _, ok := actionOf(auth.Permission(w.text)); !ok {
			f.wrong(w.line, "%s: unknown action %s: expected pull, push, delete or catalog", what, w.text)
			continue
		}
		list = append(list, auth.Permission(w.text))
	}
	return list
}

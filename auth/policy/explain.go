package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/berth-registry/berth/auth"
)

// Explanation is a decision, and for each rule whether it applied and why.
type Explanation struct {
	// Decision is the result of Decide; zero if Explain was called without a permission.
	Decision auth.Decision
	Rules    []Verdict // in the file's order
}

// Verdict is what one rule contributed to a decision.
type Verdict struct {
	Rule    string   `json:"rule"`
	Line    int      `json:"line"`   // in the file; 0 for the default policy
	Effect  string   `json:"effect"` // "allow" or "deny"
	Actions []string `json:"actions"`
	Applied bool     `json:"applied"`
	// Why names what made the rule apply, or the first condition that was not met.
	Why string `json:"why"`
}

// Explain decides as Decide does, and explains for each rule whether it applied. Without a
// permission ("") it makes no decision, and explains which rules are for the identity, whatever the
// action and the repository.
func (p *Policy) Explain(id auth.Identity, from netip.Addr, perm auth.Permission, repository string) Explanation {
	var e Explanation
	if perm != "" {
		e.Decision = p.Decide(id, from, perm, repository)
	}
	a, asked := actionOf(perm)
	q := query{id: &id, from: from, action: a, repository: repository}
	for _, r := range p.rules {
		v := Verdict{Rule: r.name, Line: r.line, Effect: "allow"}
		if r.deny {
			v.Effect = "deny"
		}
		for _, action := range r.actions {
			v.Actions = append(v.Actions, string(action))
		}
		v.Applied, v.Why = r.explain(&q, asked)
		e.Rules = append(e.Rules, v)
	}
	return e
}

// explain makes the same checks as applies, and puts the result in words. If asked is false, the
// rule is not checked for the action and the repository.
func (r *rule) explain(q *query, asked bool) (applied bool, why string) {
	in := firstMatch(r.who.included, q.id)
	out := firstMatch(r.who.excluded, q.id)
	switch {
	case asked && !r.matchesAction(q.action):
		return false, "is about other actions"
	case in == nil:
		return false, "is for " + joinTerms(r.who.included)
	case out != nil:
		return false, "excludes " + out.text
	case !r.when.holds(q):
		return false, r.when.explain(q)
	case !asked:
		return true, fmt.Sprintf("is for %s, in %s", in.text, r.explainRepos(q.id))
	case q.action == catalog:
		return true, "is for " + in.text
	}
	for i := range r.repos {
		if matchPattern(&r.repos[i], q.id, q.repository) {
			return true, fmt.Sprintf("is for %s, in %s", in.text, explainPattern(&r.repos[i], q.id))
		}
	}
	return false, "is for repositories " + r.explainRepos(q.id)
}

// joinTerms returns the terms as alternatives.
func joinTerms(terms []term) string {
	var words []string
	for _, t := range terms {
		words = append(words, t.text)
	}
	return strings.Join(words, " or ")
}

// explainRepos returns the patterns of the rule as alternatives.
func (r *rule) explainRepos(id *auth.Identity) string {
	var words []string
	for i := range r.repos {
		words = append(words, explainPattern(&r.repos[i], id))
	}
	return strings.Join(words, " or ")
}

// explainPattern returns the pattern, and the pattern with the values of an identity.
func explainPattern(p *auth.Pattern, id *auth.Identity) string {
	names := p.Placeholders()
	if len(names) == 0 {
		return p.String()
	}
	expanded := p.String()
	for _, name := range names {
		value := placeholderValue(id, name)
		if value == "" {
			return fmt.Sprintf("%s (nothing here: {%s} is no part of a repository's name)", p, name)
		}
		expanded = strings.Replace(expanded, "{"+name+"}", value, 1)
	}
	return p.String() + ", here " + expanded
}

// explain describes the first condition that is not met.
func (w *when) explain(q *query) string {
	if c := w.unmetClaim(q.id); c != nil {
		actual := "missing"
		if values, ok := q.id.Claims[c.name]; ok {
			actual = strings.Join(values, ", ")
		}
		return fmt.Sprintf("wants claim %s to be %s, and it is %s", c.name, strings.Join(c.patterns, " or "), actual)
	}
	var networks []string
	for _, p := range w.from {
		networks = append(networks, p.String())
	}
	address := "unknown"
	if q.from.IsValid() {
		address = q.from.String()
	}
	return fmt.Sprintf("wants an address in %s, and it is %s", strings.Join(networks, " or "), address)
}

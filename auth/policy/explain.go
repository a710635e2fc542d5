package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/berth-registry/berth/auth"
)

// Explanation is a decision and what each rule had to say.
type Explanation struct {
	// Decision is what Decide says; zero where nothing was asked.
	Decision auth.Decision
	Rules    []Verdict // in the file's order
}

// Verdict is what one rule has to say.
type Verdict struct {
	Rule    string   `json:"rule"`
	Line    int      `json:"line"`   // in the file; 0 of the default policy
	Effect  string   `json:"effect"` // "allow" or "deny"
	Actions []string `json:"actions"`
	Applied bool     `json:"applied"`
	// Why names what made the rule apply, or the first thing that kept it from doing so.
	Why string `json:"why"`
}

// Explain decides as Decide does, and says of each rule whether it applied and why.
// With no permission ("") it decides nothing, and says which rules are for the
// identity, whatever it does and wherever.
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

// explain goes through what applies does, in words. Unless something was asked the
// rule may speak of any action and repository.
func (r *rule) explain(q *query, asked bool) (applied bool, why string) {
	in := find(r.who.any, q.id)
	out := find(r.who.not, q.id)
	switch {
	case asked && !r.speaksOf(q.action):
		return false, "is about other actions"
	case in == nil:
		return false, "is for " + list(r.who.any)
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
		if matches(&r.repos[i], q.id, q.repository) {
			return true, fmt.Sprintf("is for %s, in %s", in.text, explainPattern(&r.repos[i], q.id))
		}
	}
	return false, "is for repositories " + r.explainRepos(q.id)
}

// list writes terms as alternatives.
func list(terms []term) string {
	var words []string
	for _, t := range terms {
		words = append(words, t.text)
	}
	return strings.Join(words, " or ")
}

// explainRepos writes the patterns as alternatives.
func (r *rule) explainRepos(id *auth.Identity) string {
	var words []string
	for i := range r.repos {
		words = append(words, explainPattern(&r.repos[i], id))
	}
	return strings.Join(words, " or ")
}

// explainPattern returns the pattern, and what it becomes for an identity.
func explainPattern(p *auth.Pattern, id *auth.Identity) string {
	names := p.Placeholders()
	if len(names) == 0 {
		return p.String()
	}
	becomes := p.String()
	for _, name := range names {
		value := placeholderValue(id, name)
		if value == "" {
			return fmt.Sprintf("%s (nothing here: {%s} is no part of a repository's name)", p, name)
		}
		becomes = strings.Replace(becomes, "{"+name+"}", value, 1)
	}
	return p.String() + ", here " + becomes
}

// explain says which condition does not hold.
func (w *when) explain(q *query) string {
	if c := w.missing(q.id); c != nil {
		is := "missing"
		if values, ok := q.id.Claims[c.name]; ok {
			is = strings.Join(values, ", ")
		}
		return fmt.Sprintf("wants claim %s to be %s, and it is %s", c.name, strings.Join(c.patterns, " or "), is)
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

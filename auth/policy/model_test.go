package policy

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
)

var seedFlag = flag.Uint64("seed", 0, "seed of TestModel; 0: by the clock")

// model applies a policy as a reader of the file would by hand: without compiling it, and with a
// regular expression for each pattern.
type model struct {
	groups map[string][]string
	rules  []modelRule
}

type modelRule struct {
	who, repos, ips []string
	claims          map[string][]string
	deny            bool
	actions         []string
}

// request is a question to a model.
type request struct {
	id   auth.Identity
	from netip.Addr
	perm string
	repo string
}

// decide returns the expected decision and the index of the rule that makes it; -1 for none.
func (m *model) decide(q request) (bool, int) {
	for _, deny := range []bool{true, false} {
		for i, r := range m.rules {
			if r.deny == deny && r.about(q.perm) && m.isFor(r, q) {
				return !deny, i
			}
		}
	}
	return false, -1
}

func (r modelRule) about(perm string) bool {
	return slices.Contains(r.actions, perm) ||
		!r.deny && perm == "pull" && slices.Contains(r.actions, "push") ||
		r.deny && perm == "push" && slices.Contains(r.actions, "pull")
}

func (m *model) isFor(r modelRule, q request) bool {
	included := false
	for _, word := range r.who {
		if excluded, ok := strings.CutPrefix(word, "!"); ok {
			if m.is(excluded, q.id) {
				return false
			}
		} else if m.is(word, q.id) {
			included = true
		}
	}
	if !included {
		return false
	}
	for name, patterns := range r.claims {
		found := false
		for _, value := range q.id.Claims[name] {
			for _, p := range patterns {
				found = found || expression(p, ".*").MatchString(value)
			}
		}
		if !found {
			return false
		}
	}
	if len(r.ips) > 0 && !slices.ContainsFunc(r.ips, func(ip string) bool { return netip.MustParsePrefix(ip).Contains(q.from) }) {
		return false
	}
	return q.perm == "catalog" || slices.ContainsFunc(r.repos, func(p string) bool { return repoMatches(p, q.id, q.repo) })
}

func (m *model) is(word string, id auth.Identity) bool {
	switch word {
	case "anonymous":
		return id.Kind == auth.Anonymous
	case "authenticated":
		return id.Kind == auth.User || id.Kind == auth.Robot
	}
	kind, name, _ := strings.Cut(word, ":")
	switch kind {
	case "group":
		return id.Kind != auth.Anonymous && slices.Contains(id.Groups, name) ||
			id.Kind == auth.User && slices.Contains(m.groups[name], id.Name)
	case "oidc":
		return id.Kind == auth.CI && id.Issuer == name
	}
	return kind == string(id.Kind) && name == id.Name
}

var (
	placeholder = regexp.MustCompile(`\{[^}]*\}`)
	legalPath   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`) // as in the specification
)

func repoMatches(pattern string, id auth.Identity, repo string) bool {
	legal := true
	pattern = placeholder.ReplaceAllStringFunc(pattern, func(braces string) string {
		var value string
		if name, ok := strings.CutPrefix(strings.Trim(braces, "{}"), "claims."); !ok && id.Kind == auth.User {
			value = id.Name
			legal = legal && !strings.Contains(value, "/")
		} else if ok && id.Kind == auth.CI && len(id.Claims[name]) == 1 {
			value = strings.ToLower(id.Claims[name][0])
		}
		legal = legal && legalPath.MatchString(value)
		return value
	})
	return legal && expression(pattern, "[^/]*").MatchString(repo)
}

var expressions = make(map[string]*regexp.Regexp)

// expression returns a regular expression for a pattern, in which star replaces each "*".
func expression(pattern, star string) *regexp.Regexp {
	e := expressions[pattern+star]
	if e == nil {
		text := regexp.QuoteMeta(pattern)
		text = regexp.MustCompile(`^\\\*\\\*$`).ReplaceAllString(text, ".+")
		text = regexp.MustCompile(`/\\\*\\\*$`).ReplaceAllString(text, "(/.*)?")
		text = strings.ReplaceAll(text, `\*\*/`, "(.*/)?")
		text = strings.ReplaceAll(text, `\*`, star)
		e = regexp.MustCompile("^(" + text + ")$")
		expressions[pattern+star] = e
	}
	return e
}

// dice makes random models and requests from a small vocabulary, so that rules often match.
type dice struct{ *rand.Rand }

func (d dice) pick(words ...string) string { return words[d.IntN(len(words))] }

// some returns one to n different words.
func (d dice) some(n int, word func() string) []string {
	list := []string{word()}
	for range d.IntN(n) {
		if w := word(); !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

func (d dice) name() string  { return d.pick("a", "b", "Ann", "a.b") }
func (d dice) group() string { return d.pick("g", "h") }
func (d dice) claim() string { return d.pick("p", "q") }
func (d dice) value() string { return d.pick("a", "A/b", "a/b/a", "**", "a b", "-", "", "ab") }
func (d dice) term() string {
	return d.pick("anonymous", "authenticated", "user:"+d.name(), "robot:"+d.name(), "group:"+d.group(), "oidc:"+d.pick("ci", "cd"))
}

func (d dice) repo() string {
	return strings.Join(d.some(4, func() string { return d.pick("a", "b", "ab", "aab", "a.b", "ann") }), "/")
}

func (d dice) pattern() string {
	var parts []string
	for range 1 + d.IntN(4) {
		part := d.pick("a", "b", "ab", "*", "a*", "*b", "a*b", "*a*b", "**", "{user}", "{claims."+d.claim()+"}", "a{user}", "*{claims.p}")
		if n := len(parts); part == "**" && n > 0 && parts[n-1] == "**" {
			part = "b"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "/")
}

func (d dice) rule() modelRule {
	r := modelRule{
		who: d.some(3, d.term), repos: d.some(3, d.pattern), deny: d.IntN(3) == 0,
		actions: d.some(3, func() string { return d.pick("pull", "push", "delete", "catalog") }),
	}
	if d.IntN(4) == 0 {
		r.claims = map[string][]string{d.claim(): d.some(2, func() string { return d.pick("a", "a*", "*b", "*", "A/*") })}
	}
	if d.IntN(4) == 0 {
		r.ips = d.some(2, func() string { return d.pick("10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32") })
	}
	// Repair combinations that Parse rejects.
	text := strings.Join(r.repos, " ")
	add := func(words *[]string, word string) {
		if !slices.Contains(*words, word) {
			*words = append(*words, word)
		}
	}
	if strings.Contains(text, "{user}") {
		add(&r.who, "authenticated")
	}
	if r.claims != nil || strings.Contains(text, "{claims") {
		add(&r.who, "oidc:ci")
	}
	if r.deny && slices.Contains(r.actions, "catalog") {
		add(&r.repos, "**")
	}
	if d.IntN(3) == 0 {
		if w := d.term(); !slices.Contains(r.who, w) {
			r.who = append(r.who, "!"+w)
		}
	}
	return r
}

func (d dice) model() *model {
	m := &model{groups: map[string][]string{"g": d.some(2, d.name)}}
	for range 1 + d.IntN(6) {
		m.rules = append(m.rules, d.rule())
	}
	return m
}

// yaml returns the model as a policy file. Rule i is named "i".
func (m *model) yaml() string {
	var b strings.Builder
	b.WriteString("issuers:\n")
	for _, name := range []string{"ci", "cd"} {
		fmt.Fprintf(&b, "  - {name: %s, url: 'https://%[1]s.example', audiences: [b], match: {owner_id: '1'}}\n", name)
	}
	fmt.Fprintf(&b, "groups: {g: %s}\npolicy:\n", quoted(m.groups["g"]))
	for i, r := range m.rules {
		effect := "allow"
		if r.deny {
			effect = "deny"
		}
		fmt.Fprintf(&b, "  - name: %d\n    who: %s\n    repos: %s\n    %s: %s\n", i, quoted(r.who), quoted(r.repos), effect, quoted(r.actions))
		var when []string
		for name, patterns := range r.claims {
			when = append(when, fmt.Sprintf("claims: {%s: %s}", name, quoted(patterns)))
		}
		if r.ips != nil {
			when = append(when, "ip: "+quoted(r.ips))
		}
		if when != nil {
			fmt.Fprintf(&b, "    when: {%s}\n", strings.Join(when, ", "))
		}
	}
	return b.String()
}

func quoted(words []string) string { return "['" + strings.Join(words, "', '") + "']" }

func (d dice) request() request {
	q := request{perm: d.pick("pull", "push", "delete", "catalog")}
	if q.perm != "catalog" {
		q.repo = d.repo()
	}
	switch q.id.Kind = auth.Kind(d.pick("anonymous", "user", "user", "robot", "oidc", "oidc")); q.id.Kind {
	case auth.User, auth.Robot:
		q.id.Name = d.pick("a", "b", "Ann", "a.b", "**", "a/b")
		if d.IntN(2) == 0 {
			q.id.Groups = d.some(2, d.group)
		}
	case auth.CI:
		q.id.Issuer = d.pick("ci", "cd")
		q.id.Claims = make(map[string][]string)
		for _, name := range []string{"p", "q"} {
			if d.IntN(4) > 0 {
				q.id.Claims[name] = d.some(2, d.value)
			}
		}
	}
	if d.IntN(3) > 0 {
		q.from = netip.MustParseAddr(d.pick("10.1.2.3", "10.2.3.4", "2001:db8::1", "192.0.2.1"))
	}
	return q
}

// TestModel compares random policies with the model on random requests.
func TestModel(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	d := dice{rand.New(rand.NewPCG(seed, 0))}
	asked, allowed, denied := 0, 0, 0
	for range 10_000 {
		m := d.model()
		text := m.yaml()
		p, err := Parse("model.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for range 5 {
			q := d.request()
			want := auth.Decision{Rule: reasonNoRule}
			yes, rule := m.decide(q)
			if rule >= 0 {
				want = auth.Decision{Allowed: yes, Rule: fmt.Sprint(rule)}
			}
			if got := p.Decide(q.id, q.from, auth.Permission(q.perm), q.repo); got != want {
				t.Fatalf("%+v: %+v, the model says %+v\n%s", q, got, want, text)
			}
			checkExplanation(t, p, q, want, text)
			asked++
			switch {
			case yes:
				allowed++
			case rule >= 0:
				denied++
			}
		}
	}
	t.Logf("%d requests, %d allowed, %d denied by a rule", asked, allowed, denied)
	if allowed < asked/20 || denied < asked/40 {
		t.Error("too few rules ever met a request")
	}
}

// checkExplanation checks that the verdicts on a request are consistent with its decision.
func checkExplanation(t *testing.T, p *Policy, q request, want auth.Decision, text string) {
	e := p.Explain(q.id, q.from, auth.Permission(q.perm), q.repo)
	got := auth.Decision{Rule: reasonNoRule}
	for _, effect := range []string{"deny", "allow"} {
		for _, v := range e.Rules {
			if v.Applied && v.Effect == effect && got.Rule == reasonNoRule {
				got = auth.Decision{Allowed: effect == "allow", Rule: v.Rule}
			}
		}
	}
	if got != want || e.Decision != want {
		t.Fatalf("%+v: explained as %+v, decided %+v, want %+v\n%s", q, got, e.Decision, want, text)
	}
}

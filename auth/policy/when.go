package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/auth"
)

// when is the conditions of a rule, all of which must hold. What is not known, a
// claim that is missing or an address, does not hold: so a rule that must always
// deny has none.
type when struct {
	claims []claim        // nil: none
	from   []netip.Prefix // nil: from anywhere
}

// claim is a claim that is wanted, with a value that one of the patterns matches.
type claim struct {
	name     string
	patterns []string
}

func (w *when) holds(q *query) bool {
	return w.missing(q.id) == nil && (w.from == nil || w.includes(q.from))
}

// missing is the first claim that an identity does not have as it is wanted, or nil.
func (w *when) missing(id *auth.Identity) *claim {
	for i := range w.claims {
		if c := &w.claims[i]; !auth.MatchClaim(c.patterns, id.Claims[c.name]) {
			return c
		}
	}
	return nil
}

// includes says whether an address is one that the rule is for, which an unknown one
// never is.
func (w *when) includes(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	for _, p := range w.from {
		if p.Contains(from) {
			return true
		}
	}
	return false
}

func (f *file) readWhen(n *yaml.Node) when {
	var w when
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		f.wrong(n.Line, "when is empty: leave it out, or give it claims or ip")
	}
	f.fields(n, "when",
		field{"claims", func(v *yaml.Node) { w.claims = f.readClaims(v, "claims") }},
		field{"ip", func(v *yaml.Node) { w.from = f.readNetworks(v) }},
	)
	return w
}

// readClaims reads which claims are wanted, each with one pattern or several.
func (f *file) readClaims(n *yaml.Node, what string) []claim {
	var claims []claim
	entries := f.mapping(n, what)
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		f.wrong(n.Line, "%s is empty: leave it out, or name the claims that are wanted", what)
	}
	for _, e := range entries {
		claims = append(claims, claim{e.key, texts(f.someWords(e.value, "claim "+e.key))})
	}
	return claims
}

// claimMap is the claims by name.
func claimMap(claims []claim) map[string][]string {
	m := make(map[string][]string)
	for _, c := range claims {
		m[c.name] = c.patterns
	}
	return m
}

func (f *file) readNetworks(n *yaml.Node) []netip.Prefix {
	var list []netip.Prefix
	for _, w := range f.someWords(n, "ip") {
		p, err := parseNetwork(w.text)
		if err != nil {
			f.wrong(w.line, "ip: %v", err)
		}
		list = append(list, p)
	}
	return list
}

// parseNetwork reads an address or a network, in the one form that a rule has for it.
func parseNetwork(text string) (netip.Prefix, error) {
	p, err := auth.ParseNetwork(text)
	switch {
	case err != nil:
		return p, err
	case strings.Contains(text, "%"):
		return p, fmt.Errorf("%q is neither an address nor a network: leave out the zone", text)
	case p.Addr().Is4() && strings.Contains(text, ":"):
		return p, fmt.Errorf("%q is an IPv4 address in IPv6: write it as IPv4", text)
	}
	return p, nil
}

package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/auth"
)

// when is the set of conditions of a rule, all of which must be met. A missing claim or an unknown
// address does not meet a condition. So a rule that must always deny should have no conditions.
type when struct {
	claims []claim        // nil: no condition
	from   []netip.Prefix // nil: from anywhere
}

// claim is a claim that an identity must have, with a value that matches one of the patterns.
type claim struct {
	name     string
	patterns []string
}

func (w *when) holds(q *query) bool {
	return w.unmetClaim(q.id) == nil && (w.from == nil || w.containsAddress(q.from))
}

// unmetClaim returns the first claim whose condition is not met, or nil.
func (w *when) unmetClaim(id *auth.Identity) *claim {
	for i := range w.claims {
		if c := &w.claims[i]; !auth.MatchClaim(c.patterns, id.Claims[c.name]) {
			return c
		}
	}
	return nil
}

// containsAddress reports whether an address is in one of the networks. An unknown address is in
// none.
func (w *when) containsAddress(from netip.Addr) bool {
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
		f.addFaultf(n.Line, "when is empty: leave it out, or give it claims or ip")
	}
	f.fields(n, "when",
		field{"claims", func(v *yaml.Node) { w.claims = f.readClaims(v, "claims") }},
		field{"ip", func(v *yaml.Node) { w.from = f.readNetworks(v) }},
	)
	return w
}

// readClaims reads the claims that are required, each with one or more patterns.
func (f *file) readClaims(n *yaml.Node, what string) []claim {
	var claims []claim
	entries := f.mapping(n, what)
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		f.addFaultf(n.Line, "%s is empty: leave it out, or name the claims that are wanted", what)
	}
	for _, e := range entries {
		claims = append(claims, claim{e.key, wordTexts(f.nonEmptyWords(e.value, "claim "+e.key))})
	}
	return claims
}

// claimMap returns the claims as a map from name to patterns.
func claimMap(claims []claim) map[string][]string {
	m := make(map[string][]string)
	for _, c := range claims {
		m[c.name] = c.patterns
	}
	return m
}

func (f *file) readNetworks(n *yaml.Node) []netip.Prefix {
	var list []netip.Prefix
	for _, w := range f.nonEmptyWords(n, "ip") {
		p, err := parseNetwork(w.text)
		if err != nil {
			f.addFaultf(w.line, "ip: %v", err)
		}
		list = append(list, p)
	}
	return list
}

// parseNetwork parses an address or a network. Unlike auth.ParseNetwork it accepts only the
// canonical form.
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

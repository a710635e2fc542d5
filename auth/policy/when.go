package policy

import (
	"net/netip"

	"github.com/berth-registry/berth/auth"
)

// when is the conditions of a rule, all of which must hold. What cannot be known,
// a claim that is missing or an address, does not hold.
type when struct {
	claims map[string][]string // nil: none
	from   []netip.Prefix      // nil: from anywhere
}

func (w *when) holds(q *query) bool {
	return (w.claims == nil || auth.MatchClaims(w.claims, q.id.Claims)) &&
		(w.from == nil || w.includes(q.from))
}

// includes says whether an address is one that the rule is for.
func (w *when) includes(from netip.Addr) bool {
	if !from.IsValid() {
		return false
	}
	from = from.Unmap().WithZone("")
	for _, p := range w.from {
		if p.Contains(from) {
			return true
		}
	}
	return false
}

package policy

import (
	"net/netip"

	"github.com/berth-registry/berth/auth"
)

// Explanation is a decision with what each rule had to say.
type Explanation struct {
	Decision auth.Decision
	Rules    []Verdict
}

// Verdict is what one rule has to say.
type Verdict struct {
	Rule    string `json:"rule"`
	Line    int    `json:"line"`
	Effect  string `json:"effect"` // "allow" or "deny"
	Applied bool   `json:"applied"`
	Why     string `json:"why"` // whom and what it covers, or why it does not apply
}

// Explain decides as Decide does, and says for each rule whether it applied.
func (p *Policy) Explain(id auth.Identity, from netip.Addr, perm auth.Permission, repository string) Explanation {
	return Explanation{Decision: p.Decide(id, from, perm, repository)}
}

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
)

// test is one entry of the section tests: exactly what an identity may do in a repository or,
// without a repository, whether it may list the catalog.
type test struct {
	line int
	as   string
	id   auth.Identity
	from netip.Addr
	repo string
	want []auth.Permission
}

// runTest adds a fault for each action on which the policy and the test disagree.
func (f *file) runTest(p *Policy, t test) {
	asked := []auth.Permission{auth.Pull, auth.Push, auth.Delete}
	where := " on " + t.repo
	if t.repo == "" {
		asked, where = []auth.Permission{auth.Catalog}, ""
	}
	for _, action := range asked {
		want := slices.Contains(t.want, action) || action == auth.Pull && slices.Contains(t.want, auth.Push)
		switch d := p.Decide(t.id, t.from, action, t.repo); {
		case d.Allowed && !want:
			f.addFaultf(t.line, "test fails: rule %s allows %s to %s%s, which want does not have", d.Rule, t.as, action, where)
		case !d.Allowed && want:
			f.addFaultf(t.line, "test fails: %s may not %s%s (%s), which want has", t.as, action, where, d.Rule)
		}
	}
}

func (f *file) readTests(n *yaml.Node) {
	nodes := f.items(n, "tests")
	if len(nodes) > maxTests {
		f.addFaultf(n.Line, "there are %d tests, at most %d are allowed", len(nodes), maxTests)
		return
	}
	for _, node := range nodes {
		f.tests = append(f.tests, f.readTest(node))
	}
}

func (f *file) readTest(n *yaml.Node) test {
	t := test{line: n.Line}
	var groups []string
	var claims []claim
	hasWant := false
	faults := len(f.faults)
	f.fields(n, "a test",
		field{"as", func(v *yaml.Node) { t.as = f.readChecked(v, "as", f.checkIdentity) }},
		field{"groups", func(v *yaml.Node) { groups = wordTexts(f.words(v, "groups")) }},
		field{"claims", func(v *yaml.Node) { claims = f.readClaims(v, "claims") }},
		field{"ip", func(v *yaml.Node) { t.from = f.readAddr(v) }},
		field{"repo", func(v *yaml.Node) { t.repo = f.readChecked(v, "repo", manifest.CheckName) }},
		field{"want", func(v *yaml.Node) { hasWant, t.want = true, f.readActions(v, "want", false) }},
	)
	switch wantsCatalog := slices.Contains(t.want, auth.Catalog); {
	case len(f.faults) > faults:
	case t.as == "":
		f.addFaultf(t.line, "a test has no as: expected for example user:bob")
	case !hasWant:
		f.addFaultf(t.line, "a test has no want: expected the actions that are allowed, [] for none")
	case wantsCatalog && t.repo != "":
		f.addFaultf(t.line, "the catalog is of no repository: leave repo out, or catalog")
	case t.repo == "" && len(t.want) > 0 && (!wantsCatalog || len(t.want) > 1):
		f.addFaultf(t.line, "a test without repo is of the catalog alone: want is [catalog] or []")
	}
	t.id, _ = ParseIdentity(t.as)
	t.id.Groups, t.id.Claims = groups, claimMap(claims)
	return t
}

func (f *file) checkIdentity(text string) error {
	id, err := ParseIdentity(text)
	if err == nil && id.Kind == auth.CI {
		err = f.checkIssuer(id.Issuer)
	}
	return err
}

func (f *file) readAddr(n *yaml.Node) netip.Addr {
	text, ok := f.text(n, "ip")
	if !ok {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		f.addFaultf(n.Line, "ip: %q is no address", text)
	}
	return addr
}

// ParseIdentity parses the identity that a test or a question is about: "user:bob",
// "robot:deployer", "oidc:github" or "anonymous". The result has no groups and no claims.
func ParseIdentity(text string) (auth.Identity, error) {
	kind, name, named := strings.Cut(text, ":")
	switch kind := auth.Kind(kind); {
	case kind == auth.Anonymous && !named:
		return auth.Identity{Kind: kind}, nil
	case kind == auth.User && named, kind == auth.Robot && named:
		return auth.Identity{Kind: kind, Name: name}, auth.CheckAccountName(name)
	case kind == auth.CI && name != "":
		return auth.Identity{Kind: kind, Issuer: name}, nil
	}
	return auth.Identity{}, fmt.Errorf("%q is none of user:NAME, robot:NAME, oidc:ISSUER, anonymous", text)
}

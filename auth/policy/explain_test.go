package policy

import (
	"net/netip"
	"testing"

	"github.com/berth-registry/berth/auth"
)

// why returns the explanation for one rule, with "+" in front if the rule applied.
func why(t *testing.T, e Explanation, rule string) string {
	t.Helper()
	for _, v := range e.Rules {
		if v.Rule == rule && v.Applied {
			return "+" + v.Why
		} else if v.Rule == rule {
			return v.Why
		}
	}
	t.Fatalf("no rule %s in %+v", rule, e)
	return ""
}

func TestExplain(t *testing.T) {
	p := example(t)
	eve := person("eve", "release", "contractors")
	robot := auth.Identity{Kind: auth.Robot, Name: "deployer"}
	inside := netip.MustParseAddr("10.20.0.7")
	for _, c := range []struct {
		id   auth.Identity
		from netip.Addr
		perm auth.Permission
		repo string
		rule string
		want string
	}{
		{eve, nowhere, auth.Pull, "prod/web", "public-read", "is for repositories public/**"},
		{eve, nowhere, auth.Pull, "prod/web", "team-a-write", "is for group:team-a"},
		{eve, nowhere, auth.Pull, "base/web", "staff-read", "excludes group:contractors"},
		{eve, nowhere, auth.Pull, "prod/web", "own-namespace", "is for repositories users/{user}/**, here users/eve/**"},
		{eve, nowhere, auth.Pull, "prod/web", "prod-write", "+is for group:release, in prod/**"},
		{eve, nowhere, auth.Pull, "prod/web", "prod-keep", "is about other actions"},
		{eve, nowhere, auth.Delete, "prod/web", "prod-keep", "+is for authenticated, in prod/**"},
		{eve, nowhere, auth.Catalog, "", "staff-read", "excludes group:contractors"},
		{person("bob"), nowhere, auth.Catalog, "", "staff-read", "+is for authenticated"},
		{person("Bob"), nowhere, auth.Push, "users/bob", "own-namespace", "is for repositories users/{user}/** (nothing here: {user} is no part of a repository's name)"},
		{robot, inside, auth.Pull, "prod/web", "deployer", "+is for robot:deployer, in prod/**"},
		{robot, nowhere, auth.Pull, "prod/web", "deployer", "wants an address in 10.20.0.0/16, and it is unknown"},
		{robot, netip.MustParseAddr("10.9.9.9"), auth.Pull, "prod/web", "deployer", "wants an address in 10.20.0.0/16, and it is 10.9.9.9"},
		{job("ref", "refs/heads/x"), nowhere, auth.Push, "acme/app", "gha-release", "wants claim ref to be refs/heads/main or refs/tags/v*, and it is refs/heads/x"},
		{job("ref", ""), nowhere, auth.Push, "acme/app", "gha-release", "wants claim ref to be refs/heads/main or refs/tags/v*, and it is missing"},
		{job(), nowhere, auth.Push, "acme/app/x", "gha-release", "+is for oidc:github, in {claims.repository}/**, here acme/app/**"},
		{job(), nowhere, "", "", "gha-release", "+is for oidc:github, in {claims.repository}/**, here acme/app/**"},
		{eve, nowhere, "", "", "prod-keep", "+is for authenticated, in prod/**"},
		{eve, nowhere, "", "", "staff-read", "excludes group:contractors"},
	} {
		e := p.Explain(c.id, c.from, c.perm, c.repo)
		if got := why(t, e, c.rule); got != c.want {
			t.Errorf("%s %s on %q: %s: %s, want %s", c.id.Subject(), c.perm, c.repo, c.rule, got, c.want)
		}
		if c.perm == "" && e.Decision != (auth.Decision{}) {
			t.Errorf("nothing was asked, and yet %+v", e.Decision)
		}
	}
	v := p.Explain(eve, nowhere, auth.Delete, "prod/web").Rules[9]
	if v.Rule != "prod-keep" || v.Effect != "deny" || v.Line != 52 || len(v.Actions) != 1 || v.Actions[0] != "delete" {
		t.Errorf("%+v", v)
	}
}

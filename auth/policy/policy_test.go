package policy

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth"
)

// example returns the policy of a file with rules of every common kind.
func example(t testing.TB) *Policy {
	t.Helper()
	data, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(data))
}

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// person returns a user with groups.
func person(name string, groups ...string) auth.Identity {
	return auth.Identity{Kind: auth.User, Name: name, Groups: groups}
}

// job returns a CI job of the issuer github. Its claims are those of a push to main of acme/app,
// changed by pairs of name and value. The value "" removes a claim.
func job(pairs ...string) auth.Identity {
	claims := map[string][]string{
		"repository_owner_id": {"1234567"}, "repository": {"acme/app"}, "ref": {"refs/heads/main"}, "event_name": {"push"},
	}
	for i := 0; i < len(pairs); i += 2 {
		claims[pairs[i]] = []string{pairs[i+1]}
		if pairs[i+1] == "" {
			delete(claims, pairs[i])
		}
	}
	return auth.Identity{Kind: auth.CI, Issuer: "github", Name: "acme/app", Claims: claims}
}

var nowhere netip.Addr

func TestExample(t *testing.T) {
	p := example(t)
	nobody := auth.Identity{Kind: auth.Anonymous}
	deployer := auth.Identity{Kind: auth.Robot, Name: "deployer"}
	pr := []string{"event_name", "pull_request", "ref", "refs/pull/7/merge"}
	for _, c := range []struct {
		id   auth.Identity
		from string
		perm auth.Permission
		repo string
		want string // "+" or "-" and the rule
	}{
		{nobody, "", auth.Pull, "public/alpine", "+public-read"},
		{nobody, "", auth.Push, "public/alpine", "-no rule allows it"},
		{nobody, "", auth.Pull, "team-a/app", "-no rule allows it"},
		{nobody, "", auth.Catalog, "", "-no rule allows it"},
		{person("bob"), "", auth.Pull, "public", "+public-read"},
		{person("alice", "team-a"), "", auth.Push, "team-a/app", "+team-a-write"},
		{person("alice", "team-a"), "", auth.Pull, "team-a/app", "+team-a-write"},
		{person("alice", "team-a"), "", auth.Delete, "team-a", "+team-a-write"},
		{person("alice", "team-a"), "", auth.Push, "team-ab/app", "-no rule allows it"},
		{person("bob"), "", auth.Pull, "team-a/app", "+staff-read"},
		{person("bob"), "", auth.Push, "team-a/app", "-no rule allows it"},
		{person("bob"), "", auth.Catalog, "", "+staff-read"},
		{person("carl", "contractors"), "", auth.Pull, "team-a/app", "-no rule allows it"},
		{person("carl", "contractors"), "", auth.Catalog, "", "-no rule allows it"},
		{person("bob"), "", auth.Push, "users/bob/x", "+own-namespace"},
		{person("bob"), "", auth.Push, "users/bobby/x", "-no rule allows it"},
		{person("bob"), "", auth.Delete, "users/alice/x", "-no rule allows it"},
		{person("**"), "", auth.Push, "users/alice/x", "-no rule allows it"},
		{person("alice/x"), "", auth.Push, "users/alice/x", "-no rule allows it"},
		{auth.Identity{Kind: auth.Robot, Name: "bob"}, "", auth.Push, "users/bob/x", "-no rule allows it"},
		{job(), "", auth.Push, "acme/app/web", "+gha-release"},
		{job("ref", "refs/tags/v1.2"), "", auth.Push, "acme/app", "+gha-release"},
		{job("repository", "Acme/App"), "", auth.Push, "acme/app", "-no rule allows it"}, // conditions compare claims literally
		{job("ref", "refs/heads/feature"), "", auth.Push, "acme/app", "-no rule allows it"},
		{job("ref", ""), "", auth.Push, "acme/app", "-no rule allows it"},
		{job("repository_owner_id", "666"), "", auth.Push, "acme/app", "-no rule allows it"},
		{job("repository", "acme/**"), "", auth.Push, "acme/other", "-no rule allows it"},
		{job(), "", auth.Push, "acme/other", "-no rule allows it"},
		{job(pr...), "", auth.Push, "acme/app", "-no rule allows it"},
		{job(pr...), "", auth.Push, "scratch/acme/app/web", "+gha-pr"},
		{job(append(pr, "repository", "Acme/App")...), "", auth.Push, "scratch/acme/app", "+gha-pr"}, // patterns lower-case them
		{job(), "", auth.Pull, "team-a/app", "-no rule allows it"},
		{deployer, "10.20.3.4", auth.Pull, "prod/web", "+deployer"},
		{deployer, "::ffff:10.20.3.4", auth.Pull, "prod/web", "+deployer"},
		{deployer, "10.21.3.4", auth.Pull, "prod/web", "-no rule allows it"},
		{deployer, "", auth.Pull, "prod/web", "-no rule allows it"},
		{person("deployer"), "10.20.3.4", auth.Pull, "prod/web", "-no rule allows it"},
		{person("eve", "release"), "", auth.Push, "prod/web", "+prod-write"},
		{person("eve", "release"), "", auth.Delete, "prod/web", "-prod-keep"},
		{person("root"), "", auth.Delete, "any/thing", "+admins"}, // by the file's groups
		{person("bob", "admins"), "", auth.Delete, "any/thing", "+admins"},
		{person("root"), "", auth.Delete, "prod/web", "-prod-keep"},
		{person("root"), "", auth.Push, "prod", "+admins"},
		{auth.Identity{Kind: auth.Robot, Name: "root"}, "", auth.Delete, "any/thing", "-no rule allows it"},
		{auth.Identity{Kind: auth.Anonymous, Groups: []string{"admins"}}, "", auth.Pull, "any/thing", "-no rule allows it"},
		{auth.Identity{}, "", auth.Pull, "public/alpine", "-nobody is identified"},
		{auth.Identity{}, "", auth.None, "", "+needs no permission"},
		{person("root"), "", "admin", "public/alpine", "-no such action"},
		{person("root"), "", auth.Pull, "", "-no rule allows it"},
	} {
		from := nowhere
		if c.from != "" {
			from = netip.MustParseAddr(c.from)
		}
		got := "-"
		d := p.Decide(c.id, from, c.perm, c.repo)
		if d.Allowed {
			got = "+"
		}
		if got += d.Rule; got != c.want {
			t.Errorf("%s %v %v from %q: %s on %q: %s, want %s", c.id.Subject(), c.id.Groups, c.id.Claims, c.from, c.perm, c.repo, got, c.want)
		}
	}
	if !p.AllowsAnonymous() {
		t.Error("the anonymous may pull what is public")
	}
}

// TestScopeBounds checks that a token's scope only restricts and never grants.
func TestScopeBounds(t *testing.T) {
	p := example(t)
	id := person("bob")
	var err error
	if id.Scope, err = auth.ParseScope("repository:users/**:pull repository:prod/**:push"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		perm auth.Permission
		repo string
		want auth.Decision
	}{
		{auth.Pull, "users/bob/x", auth.Decision{Allowed: true, Rule: "own-namespace"}},
		{auth.Push, "users/bob/x", auth.Decision{Rule: reasonScope}},
		{auth.Catalog, "", auth.Decision{Rule: reasonScope}},
		{auth.Push, "prod/web", auth.Decision{Rule: reasonNoRule}},
	} {
		if got := p.Decide(id, nowhere, c.perm, c.repo); got != c.want {
			t.Errorf("%s on %s: %+v, want %+v", c.perm, c.repo, got, c.want)
		}
	}
}

// TestNetworkBounds checks that a token that is bound to networks is denied from other and from
// unknown addresses.
func TestNetworkBounds(t *testing.T) {
	p := example(t)
	id := person("bob")
	id.Networks = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	for from, want := range map[string]bool{
		"10.20.0.7": true, "::ffff:10.20.0.7": true, "2001:db8::1": true, "10.21.0.7": false, "::1": false, "": false,
	} {
		addr, _ := netip.ParseAddr(from)
		got := p.Decide(id, addr, auth.Push, "users/bob/x")
		if got.Allowed != want || !want && got.Rule != reasonNetwork {
			t.Errorf("from %q: %+v", from, got)
		}
	}
}

func TestDefault(t *testing.T) {
	p := Default()
	for _, c := range []struct {
		id   auth.Identity
		want bool
	}{
		{person("bob"), true}, {auth.Identity{Kind: auth.Robot, Name: "r"}, true},
		{auth.Identity{Kind: auth.Anonymous}, false}, {job(), false}, {auth.Identity{}, false}, {auth.Identity{Kind: "cert"}, false},
	} {
		for _, perm := range []auth.Permission{auth.Pull, auth.Push, auth.Delete, auth.Catalog} {
			if d := p.Decide(c.id, nowhere, perm, "a/b"); d.Allowed != c.want {
				t.Errorf("%q %s: %+v", c.id.Kind, perm, d)
			}
		}
	}
	if p.AllowsAnonymous() || len(p.Issuers()) != 0 {
		t.Error("there is something for the anonymous, or an issuer")
	}
}

// TestImpliedActions checks that allowing push allows pull, that denying pull denies push, and that
// no other action implies another.
func TestImpliedActions(t *testing.T) {
	const all = "{name: all, who: [authenticated], repos: ['**'], allow: [pull, push, delete, catalog]}"
	for rule, want := range map[string]string{
		"{name: r, who: [authenticated], repos: ['**'], allow: [push]}":                "pull push",
		"{name: r, who: [authenticated], repos: ['**'], allow: [pull]}":                "pull",
		"{name: r, who: [authenticated], repos: ['**'], allow: [delete]}":              "delete",
		"{name: r, who: [authenticated], repos: ['x'], allow: [catalog]}":              "catalog",
		all + ", {name: d, who: [authenticated], repos: ['**'], deny: [pull]}":         "delete catalog",
		all + ", {name: d, who: [authenticated], repos: ['**'], deny: [push]}":         "pull delete catalog",
		all + ", {name: d, who: [authenticated], repos: ['**'], deny: [catalog]}":      "pull push delete",
		all + ", {name: d, who: [authenticated], repos: ['else'], deny: [pull]}":       "pull push delete catalog",
		all + ", {name: d, who: [authenticated], repos: ['users/{user}'], deny: pull}": "pull push delete catalog",
	} {
		p := parse(t, "policy: ["+rule+"]")
		var may []string
		for _, perm := range []auth.Permission{auth.Pull, auth.Push, auth.Delete, auth.Catalog} {
			if p.Decide(person("bob"), nowhere, perm, "a/b").Allowed {
				may = append(may, string(perm))
			}
		}
		if got := strings.Join(may, " "); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
}

// TestUserNames checks that {user} has a value only for names that can be a component.
func TestUserNames(t *testing.T) {
	p := parse(t, "policy: [{name: own, who: [authenticated], repos: ['users/{user}/**', 'x-{user}'], allow: [pull]}]")
	for name, want := range map[string]bool{
		"bob": true, "b.o_b": true, "b--b": true, "Bob": false, "bob@x": false, "-bob": false, "b..b": false, "*": false, "": false, "b/c": false,
	} {
		for _, repo := range []string{"users/" + name + "/app", "users/" + strings.ToLower(name) + "/app", "x-" + name} {
			if p.Decide(person(name), nowhere, auth.Pull, repo).Allowed != want {
				t.Errorf("user %q on %s: not %t", name, repo, want)
			}
		}
	}
}

// TestClaimsInNames checks that a claim is lower-cased and must then be a valid path.
func TestClaimsInNames(t *testing.T) {
	p := parse(t, `{issuers: [{name: ci, url: "https://ci.example", audiences: [b], match: {owner_id: "1"}}],
		policy: [{name: r, who: ["oidc:ci", authenticated], repos: ["ci/{claims.project}/**"], allow: [push]}]}`)
	for _, c := range []struct {
		values []string
		repo   string
		want   bool
	}{
		{[]string{"a/b"}, "ci/a/b/c", true}, {[]string{"A/b"}, "ci/a/b", true}, {[]string{"a/b"}, "ci/a/bc", false},
		{[]string{"a", "b"}, "ci/a", false}, {nil, "ci", false}, {[]string{""}, "ci", false},
		{[]string{"*"}, "ci/a", false}, {[]string{"**"}, "ci/a", false}, {[]string{"a/../b"}, "ci/b", false}, {[]string{"/a"}, "ci/a", false}, {[]string{"a/"}, "ci/a", false},
		{[]string{"\u212aim"}, "ci/kim", false}, // the Kelvin sign, whose lower case is an ASCII k
		{[]string{strings.Repeat("a", 256)}, "ci/" + strings.Repeat("a", 256), false},
	} {
		id := auth.Identity{Kind: auth.CI, Issuer: "ci", Claims: map[string][]string{"project": c.values}}
		if d := p.Decide(id, nowhere, auth.Push, c.repo); d.Allowed != c.want {
			t.Errorf("%q on %s: %+v", c.values, c.repo, d)
		}
		id.Kind = auth.User
		if d := p.Decide(id, nowhere, auth.Push, c.repo); d.Allowed {
			t.Errorf("a user with claims: %+v", d)
		}
	}
}

// TestClaimsWithSlashes: the claims of CircleCI have paths as names. A slash in braces separates no
// components.
func TestClaimsWithSlashes(t *testing.T) {
	p, err := Parse("policy.yaml", []byte(`issuers:
  - name: circleci
    url: https://oidc.circleci.com/org/1
    audiences: ["1"]
    match: {oidc.circleci.com/org-id: "1"}
    identity: "{claims.oidc.circleci.com/project-id}"
policy:
  - name: jobs
    who: ["oidc:circleci"]
    repos: ["ci/{claims.oidc.circleci.com/project-id}/**", "x{claims.https://example.com/team}-y/*/**/z"]
    allow: [push]
`))
	if err != nil {
		t.Fatal(err)
	}
	id := auth.Identity{Kind: auth.CI, Issuer: "circleci", Claims: map[string][]string{
		"oidc.circleci.com/org-id": {"1"}, "oidc.circleci.com/project-id": {"p-1"}, "https://example.com/team": {"a/b"},
	}}
	for repo, want := range map[string]bool{
		"ci/p-1": true, "ci/p-1/web": true, "xa/b-y/c/z": true, "xa/b-y/c/d/e/z": true,
		"ci/p-2": false, "ci/project-id/web": false, "xa/b-y/z": false, "ci": false,
	} {
		if got := p.Decide(id, nowhere, auth.Push, repo).Allowed; got != want {
			t.Errorf("%s: %t", repo, got)
		}
	}
}

func TestAnonymous(t *testing.T) {
	for rule, want := range map[string]bool{
		"{name: r, who: [anonymous], repos: [x], allow: [pull]}":                         true,
		"{name: r, who: [anonymous], when: {ip: 10.0.0.0/8}, repos: [x], allow: [pull]}": true,
		"{name: r, who: [anonymous], repos: [x], deny: [pull]}":                          false,
		"{name: r, who: [authenticated, '!anonymous'], repos: [x], allow: [pull]}":       false,
		"{name: r, who: [authenticated], repos: [x], allow: [pull]}":                     false,
	} {
		if p := parse(t, "policy: ["+rule+"]"); p.AllowsAnonymous() != want {
			t.Errorf("%s: not %t", rule, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	p := parse(t, "policy: [{name: r, who: [anonymous], when: {ip: [10.0.0.0/8, 192.0.2.1, '2001:db8::/32', 'fe80::/10']}, repos: ['**'], allow: [pull]}]")
	for from, want := range map[string]bool{
		"10.1.2.3": true, "11.1.2.3": false, "192.0.2.1": true, "192.0.2.2": false, "2001:db8::7": true, "2001:db9::7": false,
		"::ffff:10.1.2.3": true, "fe80::1%eth0": true, "::": false,
	} {
		if got := p.Decide(auth.Identity{Kind: auth.Anonymous}, netip.MustParseAddr(from), auth.Pull, "a"); got.Allowed != want {
			t.Errorf("from %s: %+v", from, got)
		}
	}
}

// BenchmarkDecide measures the example of ten rules, with callers that one of the last rules or
// none allows something.
func BenchmarkDecide(b *testing.B) {
	p := example(b)
	for _, c := range []struct {
		name string
		id   auth.Identity
		repo string
	}{
		{"group", person("eve", "contractors", "release"), "prod/web"},
		{"admin", person("root"), "prod/web"},
		{"own", person("bob"), "users/bob/app/web"},
		{"job", job(), "acme/app/web"},
		{"refused", person("bob"), "other/thing/here"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(c.id, nowhere, auth.Push, c.repo)
			}
		})
	}
}

// TestDecideAllocatesNothing checks the path that every request takes.
func TestDecideAllocatesNothing(t *testing.T) {
	p := example(t)
	for _, id := range []auth.Identity{person("root"), person("bob", "a", "b"), job(), {Kind: auth.Anonymous}} {
		for _, repo := range []string{"prod/web", "users/bob/x", "acme/app/web", "other"} {
			if n := testing.AllocsPerRun(100, func() { p.Decide(id, nowhere, auth.Push, repo) }); n > 0 {
				t.Errorf("%s on %s: %v allocations", id.Subject(), repo, n)
			}
		}
	}
}

// TestPatternIsBounded checks that a pattern with many wildcards does not take exponential time.
func TestPatternIsBounded(t *testing.T) {
	name := strings.Repeat("aa/", 84) + "a"
	for _, text := range []string{
		strings.Repeat("**/a*/", 40) + "b",
		strings.Repeat("**/*a*/", 40) + "**/b",
		"*" + strings.Repeat("a*a*", 50) + "/**/b",
	} {
		p, err := parsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		id := person("bob")
		if matchPattern(&p, &id, name) {
			t.Errorf("%s", text)
		}
	}
}

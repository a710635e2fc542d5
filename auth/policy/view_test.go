package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
)

// credential gives an identity a random scope and networks, as a token would.
func (d dice) credential(id *auth.Identity) {
	if d.IntN(3) == 0 {
		scope, err := auth.ParseScope(strings.Join(d.some(3, func() string {
			return d.pick("repository:a/**:pull", "repository:*/b:push", "repository:**:delete", "registry:catalog:*", "repository:ab:pull,delete")
		}), " "))
		if err != nil {
			panic(err)
		}
		id.Scope = scope
	}
	if d.IntN(6) == 0 {
		id.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	}
}

// TestView checks that a View contains the repositories for which Decide allows pulling, and that
// Views with equal keys contain the same, even for different policies and identities.
func TestView(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	d := dice{rand.New(rand.NewPCG(seed, 1))}
	var repos []string
	for len(repos) < 40 {
		repos = append(repos, d.repo())
	}
	type known struct{ repos, by string }
	keys := make(map[string]known)
	shared, some := 0, 0
	for range 5000 {
		m := d.model()
		p, err := Parse("model.yaml", []byte(m.yaml()))
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			q := d.request()
			d.credential(&q.id)
			v := p.View(q.id, q.from)
			var allowed []string
			for _, repo := range repos {
				want := p.Decide(q.id, q.from, auth.Pull, repo).Allowed
				if got := v.Allows != nil && v.Allows(repo); got != want {
					t.Fatalf("%+v from %v: the view has %s: %t, Decide says %t\n%s", q.id, q.from, repo, got, want, m.yaml())
				}
				if want {
					allowed = append(allowed, repo)
				}
			}
			if v.Allows == nil {
				continue
			}
			now := known{fmt.Sprint(allowed), fmt.Sprintf("%+v from %v\n%s", q.id, q.from, m.yaml())}
			if len(v.Key) > 64 {
				t.Fatalf("a key has %d bytes", len(v.Key))
			}
			if before, ok := keys[v.Key]; ok {
				if shared++; before.repos != now.repos {
					t.Fatalf("one key has %s and %s\n%s\n%s", before.repos, now.repos, before.by, now.by)
				}
			}
			keys[v.Key] = now
			if len(allowed) > 0 {
				some++
			}
		}
	}
	t.Logf("%d keys, %d shared, %d with repositories", len(keys), shared, some)
	if shared < 100 || some < 1000 {
		t.Error("too few views ever met")
	}
}

// TestD7ViewKeys checks that the key does not depend on attributes that a caller can change and
// that no rule reads. Each new key would cost a scan of the catalog: attack D7 in docs/security.md.
func TestD7ViewKeys(t *testing.T) {
	p, err := Parse("p.yaml", []byte(`
issuers: [{name: ci, url: 'https://ci.example', audiences: [b], match: {owner_id: '1'}}]
policy:
  - {name: all, who: [authenticated, anonymous], repos: ["public/**"], allow: [pull]}
  - {name: own, who: [authenticated], repos: ["{user}/**"], allow: [push]}
  - {name: ci, who: ["oidc:ci"], repos: ["ci/{claims.repo}"], when: {claims: {ref: "refs/*"}}, allow: [push]}
  - {name: office, who: [authenticated, anonymous], repos: ["office/**"], when: {ip: ["10.0.0.0/8", "2001:db8::/32"]}, allow: [pull]}
  - {name: team, who: ["group:team"], repos: ["team/**"], allow: [pull]}
`))
	if err != nil {
		t.Fatal(err)
	}
	another, err := Parse("p.yaml", []byte(`
policy:
  - {name: other, who: ["user:bob"], repos: ["**"], allow: [push]}
  - {name: still all, who: [anonymous], repos: ["public/**"], allow: [push, delete]}
`))
	if err != nil {
		t.Fatal(err)
	}
	effects := func(first string) *Policy {
		p, err := Parse("p.yaml", []byte("policy: [{name: a, who: [anonymous], repos: [a], "+first+": [pull]}, {name: b, who: [anonymous], repos: [b], allow: [pull]}]"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	anonymous := auth.Identity{Kind: auth.Anonymous}
	job := func(repo, run, ref string) auth.Identity {
		return auth.Identity{Kind: auth.CI, Issuer: "ci", Name: repo, ID: run, Claims: map[string][]string{"repo": {repo}, "run_id": {run}, "ref": {ref}}}
	}
	user := func(name, credential string, groups ...string) auth.Identity {
		return auth.Identity{Kind: auth.User, Name: name, ID: name, Credential: credential, Groups: groups, Expires: time.Now()}
	}
	scoped := user("ann", "token:2")
	scoped.Scope = auth.Scope{{Catalog: true}}
	at := netip.MustParseAddr
	key := func(p *Policy, id auth.Identity, from netip.Addr) string { return p.View(id, from).Key }
	for what, keys := range map[string][2]string{
		"addresses outside":     {key(p, anonymous, at("192.0.2.1")), key(p, anonymous, at("2001:db9::1"))},
		"addresses inside":      {key(p, anonymous, at("10.0.0.1")), key(p, anonymous, at("2001:db8:7::1"))},
		"runs of a job":         {key(p, job("a", "1", "refs/x"), at("192.0.2.1")), key(p, job("a", "2", "refs/y"), at("192.0.2.2"))},
		"jobs that may nothing": {key(p, job("a", "1", "x"), at("192.0.2.1")), key(p, job("b", "1", "y"), at("192.0.2.1"))},
		"credentials":           {key(p, user("ann", "password"), at("192.0.2.1")), key(p, user("ann", "token:1", "unheard of"), at("192.0.2.2"))},
		"policies":              {key(p, anonymous, at("192.0.2.1")), key(another, anonymous, at("10.1.1.1"))},
	} {
		if keys[0] != keys[1] {
			t.Errorf("%s make two keys", what)
		}
	}
	for what, keys := range map[string][2]string{
		"address inside": {key(p, anonymous, at("192.0.2.1")), key(p, anonymous, at("10.0.0.1"))},
		"claim":          {key(p, job("a", "1", "refs/x"), at("192.0.2.1")), key(p, job("b", "1", "refs/x"), at("192.0.2.1"))},
		"user":           {key(p, user("ann", "password"), at("192.0.2.1")), key(p, user("bob", "password"), at("192.0.2.1"))},
		"group":          {key(p, user("ann", "password"), at("192.0.2.1")), key(p, user("ann", "password", "team"), at("192.0.2.1"))},
		"scope":          {key(p, user("ann", "password"), at("192.0.2.1")), key(p, scoped, at("192.0.2.1"))},
		"effect":         {key(effects("allow"), anonymous, at("192.0.2.1")), key(effects("deny"), anonymous, at("192.0.2.1"))},
	} {
		if keys[0] == keys[1] {
			t.Errorf("another %s makes no other key", what)
		}
	}
	if v := p.View(job("a", "1", "x"), at("192.0.2.1")); v.Allows != nil {
		t.Error("whom no rule is for has a view")
	}
}

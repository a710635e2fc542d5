package catalog

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/policy"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/storage/meta"
)

var seedFlag = flag.Uint64("seed", 0, "seed of TestD7AgreesWithDecide; 0: by the clock")

// dbLister is a Lister over a database, like the one in package storage.
type dbLister struct{ db *meta.DB }

func (s dbLister) Repositories(ctx context.Context, after, before string, n int) ([]string, error) {
	return s.db.Repositories(ctx, after, before, n)
}

func (s dbLister) ListVersion(ctx context.Context) (int64, error) { return s.db.ListVersion(ctx) }

func (s dbLister) ListedSince(ctx context.Context, since int64, n int) ([]string, int64, error) {
	return s.db.Listed(ctx, since, n)
}

// world is a registry, and everything that determines what a caller may see.
type world struct {
	*rand.Rand
	t       *testing.T
	db      *meta.DB
	catalog *Catalog
	policy  *policy.Policy
	before  []*policy.Policy // earlier policies, which may come back
	names   []string         // names of all repositories, sorted
}

func (w *world) pick(words ...string) string { return words[w.IntN(len(words))] }

// listRepositories lists one repository, or many with consecutive names.
func (w *world) listRepositories() {
	prefix := w.pick("a", "b", "ann", "bob", "team/a", "team/b", "z/acme/app", "m")
	first, n := w.IntN(2000), 1
	if w.IntN(8) == 0 {
		n += w.IntN(300)
	}
	err := w.db.Tx(w.t.Context(), func(tx *meta.Tx) error {
		for i := range n {
			repo, err := tx.EnsureRepo(fmt.Sprintf("%s/%04d", prefix, first+i))
			if err != nil {
				return err
			}
			if err := repo.SetListed(1); err != nil {
				return err
			}
		}
		// A repository without a manifest, which is not listed.
		_, err := tx.EnsureRepo(fmt.Sprintf("%s/upload%d", prefix, first))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range n {
		name := fmt.Sprintf("%s/%04d", prefix, first+i)
		if at, found := slices.BinarySearch(w.names, name); !found {
			w.names = slices.Insert(w.names, at, name)
		}
	}
}

// changePolicy makes a new policy, or brings back an earlier one.
func (w *world) changePolicy() {
	if len(w.before) > 3 && w.IntN(3) == 0 {
		w.policy = w.before[w.IntN(len(w.before))]
		return
	}
	var b strings.Builder
	b.WriteString("issuers: [{name: ci, url: 'https://ci.example', audiences: [b], match: {owner_id: '1'}}]\ngroups: {g: [ann]}\npolicy:\n")
	for i := range 4 + w.IntN(6) {
		who := w.pick("anonymous", "authenticated", "user:ann", "group:g', 'group:h", "robot:r", "oidc:ci", "authenticated', 'anonymous', 'oidc:ci")
		repos := w.pick("a/**", "team/**", "*/**/*7", "*/*5*", "m/1*', 'b/**", "z/**", "team/a/00*", "*/*", "*/*/**")
		if w.IntN(3) == 0 {
			who, repos = w.pick("authenticated", "user:ann', 'user:bob"), w.pick("{user}/**", "*/{user}*/**")
		} else if who == "oidc:ci" {
			repos = w.pick("z/{claims.repo}/**", "{claims.repo}/**", "z/**")
		}
		fmt.Fprintf(&b, "  - {name: r%d, who: ['%s'], repos: ['%s'], %s: [%s]", i, who, repos, w.pick("allow", "allow", "allow", "allow", "deny"), w.pick("pull", "push", "pull", "pull", "delete"))
		if w.IntN(4) == 0 {
			b.WriteString(", when: {ip: ['10.0.0.0/8']}")
		}
		b.WriteString("}\n")
	}
	p, err := policy.Parse("p.yaml", []byte(b.String()))
	if err != nil {
		w.t.Fatalf("%v\n%s", err, b.String())
	}
	w.policy, w.before = p, append(w.before, p)
}

// randomIdentity returns one of few identities, with random groups, token and claims.
func (w *world) randomIdentity() auth.Identity {
	id := auth.Identity{Kind: auth.Kind(w.pick("anonymous", "user", "user", "user", "robot", "oidc"))}
	switch id.Kind {
	case auth.User:
		id.Name, id.ID, id.Credential = w.pick("ann", "bob"), w.pick("1", "2"), w.pick("password", "token:1")
		id.Groups = [][]string{nil, {"g"}, {"h"}}[w.IntN(3)]
	case auth.Robot:
		id.Name = w.pick("r", "s")
	case auth.CI:
		id.Issuer, id.Name = "ci", "acme/app"
		id.Claims = map[string][]string{"repo": {w.pick("acme/app", "a", "B", "..")}, "run_id": {fmt.Sprint(w.IntN(1000))}}
	}
	if w.IntN(3) == 0 {
		scope, err := auth.ParseScope(w.pick("repository:a/**:pull", "repository:**:pull", "repository:team/a/*:push repository:b/**:delete", "registry:catalog:*"))
		if err != nil {
			w.t.Fatal(err)
		}
		id.Scope = scope
	}
	if w.IntN(8) == 0 {
		id.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	}
	return id
}

func (w *world) randomAddress() netip.Addr {
	if w.IntN(3) == 0 {
		return netip.Addr{}
	}
	return netip.MustParseAddr(w.pick("10.1.2.3", "10.2.3.4", "192.0.2.1"))
}

// checkPage compares a page with the decisions on all repositories.
func (w *world) checkPage() (seen int) {
	id, from := w.randomIdentity(), w.randomAddress()
	after, n := w.pick("", "", "", "", "a/0500", "team/", "m", "zz", "b/1!", "\xff"), 1+w.IntN(120)
	if len(w.names) > 0 && w.IntN(3) == 0 {
		after = w.names[w.IntN(len(w.names))]
	}
	var want []string
	for _, name := range w.names {
		if name > after && w.policy.Decide(id, from, auth.Pull, name).Allowed {
			want = append(want, name)
		}
	}
	got, more, err := w.catalog.Page(w.t.Context(), w.policy.View(id, from), after, n)
	if err != nil {
		w.t.Fatal(err)
	}
	if wantMore := len(want) > n; more != wantMore || !slices.Equal(got, want[:min(n, len(want))]) {
		w.t.Fatalf("%+v from %v: %d after %q of %d repositories are\n%q, more %t; Decide allows\n%q", id, from, n, after, len(w.names), got, more, want[:min(n, len(want))])
	}
	if w.catalog.bytes > w.catalog.maxBytes {
		w.t.Fatalf("%d bytes are kept of %d", w.catalog.bytes, w.catalog.maxBytes)
	}
	return len(want)
}

// TestD7AgreesWithDecide lists repositories, changes policies, and requests pages for callers
// with changing groups, tokens, claims and addresses. Every page must agree with Decide, whether or
// not there is memory for the lists.
func TestD7AgreesWithDecide(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	seen, asked := 0, 0
	for _, maxBytes := range []int{8 << 20, 40 << 10, 6 << 10} {
		db := meta.New(dbtest.Open(t, dbtest.Memory))
		w := &world{Rand: rand.New(rand.NewPCG(seed, uint64(maxBytes))), t: t, db: db, catalog: New(dbLister{db}, maxBytes)}
		w.changePolicy()
		for range 1200 {
			switch dice := w.IntN(100); {
			case dice < 5:
				w.listRepositories()
			case dice < 10:
				w.changePolicy()
			default:
				asked++
				if w.checkPage() > 0 {
					seen++
				}
			}
		}
	}
	t.Logf("%d of %d requests saw something", seen, asked)
	if seen < asked/10 {
		t.Error("too few requests saw anything")
	}
}

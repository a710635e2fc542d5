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

var seedFlag = flag.Uint64("seed", 0, "seed of TestD7CatalogIsWhatDecideSays; 0: by the clock")

// stored are the Rows of a database, as package storage gives them.
type stored struct{ db *meta.DB }

func (s stored) Repositories(ctx context.Context, after, before string, n int) ([]string, error) {
	return s.db.Repositories(ctx, after, before, n)
}

func (s stored) ListVersion(ctx context.Context) (int64, error) { return s.db.ListVersion(ctx) }

func (s stored) Listed(ctx context.Context, since int64, n int) ([]string, int64, error) {
	return s.db.Listed(ctx, since, n)
}

// world is a registry in which everything changes that decides what somebody sees.
type world struct {
	*rand.Rand
	t       *testing.T
	db      *meta.DB
	catalog *Catalog
	policy  *policy.Policy
	before  []*policy.Policy // that may come back
	names   []string         // of the repositories, sorted
}

func (w *world) of(words ...string) string { return words[w.IntN(len(words))] }

// list lists repositories: one, or many that follow on each other.
func (w *world) list() {
	prefix := w.of("a", "b", "ann", "bob", "team/a", "team/b", "z/acme/app", "m")
	first, n := w.IntN(2000), 1
	if w.IntN(8) == 0 {
		n += w.IntN(300)
	}
	err := w.db.Tx(w.t.Context(), func(tx *meta.Tx) error {
		for i := range n {
			id, err := tx.EnsureRepository(fmt.Sprintf("%s/%04d", prefix, first+i))
			if err != nil {
				return err
			}
			if err := tx.ListRepository(id, 1); err != nil {
				return err
			}
		}
		// One that has no manifest yet.
		_, err := tx.EnsureRepository(fmt.Sprintf("%s/upload%d", prefix, first))
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

// change changes the policy, or brings an earlier one back.
func (w *world) change() {
	if len(w.before) > 3 && w.IntN(3) == 0 {
		w.policy = w.before[w.IntN(len(w.before))]
		return
	}
	var b strings.Builder
	b.WriteString("issuers: [{name: ci, url: 'https://ci.example', audiences: [b], match: {owner_id: '1'}}]\ngroups: {g: [ann]}\npolicy:\n")
	for i := range 4 + w.IntN(6) {
		who := w.of("anonymous", "authenticated", "user:ann", "group:g', 'group:h", "robot:r", "oidc:ci", "authenticated', 'anonymous', 'oidc:ci")
		repos := w.of("a/**", "team/**", "*/**/*7", "*/*5*", "m/1*', 'b/**", "z/**", "team/a/00*", "*/*", "*/*/**")
		if w.IntN(3) == 0 {
			who, repos = w.of("authenticated", "user:ann', 'user:bob"), w.of("{user}/**", "*/{user}*/**")
		} else if who == "oidc:ci" {
			repos = w.of("z/{claims.repo}/**", "{claims.repo}/**", "z/**")
		}
		fmt.Fprintf(&b, "  - {name: r%d, who: ['%s'], repos: ['%s'], %s: [%s]", i, who, repos, w.of("allow", "allow", "allow", "allow", "deny"), w.of("pull", "push", "pull", "pull", "delete"))
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

// somebody is an identity, of few, each time in other groups, with another token or with
// other claims.
func (w *world) somebody() auth.Identity {
	id := auth.Identity{Kind: auth.Kind(w.of("anonymous", "user", "user", "user", "robot", "oidc"))}
	switch id.Kind {
	case auth.User:
		id.Name, id.ID, id.Credential = w.of("ann", "bob"), w.of("1", "2"), w.of("password", "token:1")
		id.Groups = [][]string{nil, {"g"}, {"h"}}[w.IntN(3)]
	case auth.Robot:
		id.Name = w.of("r", "s")
	case auth.CI:
		id.Issuer, id.Name = "ci", "acme/app"
		id.Claims = map[string][]string{"repo": {w.of("acme/app", "a", "B", "..")}, "run_id": {fmt.Sprint(w.IntN(1000))}}
	}
	if w.IntN(3) == 0 {
		scope, err := auth.ParseScope(w.of("repository:a/**:pull", "repository:**:pull", "repository:team/a/*:push repository:b/**:delete", "registry:catalog:*"))
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

func (w *world) address() netip.Addr {
	if w.IntN(3) == 0 {
		return netip.Addr{}
	}
	return netip.MustParseAddr(w.of("10.1.2.3", "10.2.3.4", "192.0.2.1"))
}

// ask compares a page with what Decide says of each repository.
func (w *world) ask() (seen int) {
	id, from := w.somebody(), w.address()
	after, n := w.of("", "", "", "", "a/0500", "team/", "m", "zz", "b/1!", "\xff"), 1+w.IntN(120)
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

// TestD7CatalogIsWhatDecideSays lists repositories, changes policies, and asks as callers
// whose groups, tokens, claims and addresses change: what is remembered is what a
// decision on each repository says, whether there is memory for it or not.
func TestD7CatalogIsWhatDecideSays(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	seen, asked := 0, 0
	for _, maxBytes := range []int{8 << 20, 40 << 10, 6 << 10} {
		db := meta.New(dbtest.Open(t, dbtest.Memory))
		w := &world{Rand: rand.New(rand.NewPCG(seed, uint64(maxBytes))), t: t, db: db, catalog: New(stored{db}, maxBytes)}
		w.change()
		for range 1200 {
			switch dice := w.IntN(100); {
			case dice < 5:
				w.list()
			case dice < 10:
				w.change()
			default:
				asked++
				if w.ask() > 0 {
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

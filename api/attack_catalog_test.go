package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
	"github.com/berth-registry/berth/storage/meta"
)

// rowCounter is a registry that counts the rows of its lists of repositories.
type rowCounter struct {
	Registry
	rows atomic.Int64
}

func (c *rowCounter) Repositories(ctx context.Context, after, before string, n int) ([]string, error) {
	names, err := c.Registry.Repositories(ctx, after, before, n)
	c.rows.Add(int64(len(names)))
	return names, err
}

func (c *rowCounter) ListedSince(ctx context.Context, since int64, n int) ([]string, int64, error) {
	names, version, err := c.Registry.ListedSince(ctx, since, n)
	c.rows.Add(int64(len(names)))
	return names, version, err
}

// newRegistryWithRepos returns a registry with n repositories, called "r/0000000" and so on.
func newRegistryWithRepos(t *testing.T, n int) *rowCounter {
	t.Helper()
	ctx := context.Background()
	db := newDB(t)
	registry := registryOn(t, db, testbucket.Open(t, "mem://"), storage.Options{})
	err := db.Tx(ctx, func(tx *meta.Tx) error {
		for i := range n {
			repo, err := tx.EnsureRepo(fmt.Sprintf("r/%07d", i))
			if err != nil {
				return err
			}
			if err := repo.SetListed(1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return &rowCounter{Registry: registry}
}

// getCatalogPage returns a page of the catalog, and the rows and decisions that it cost.
func (g *guardedSite) getCatalogPage(rows *rowCounter, h header, query string) (names []string, read, asked int64) {
	g.t.Helper()
	rows.rows.Store(0)
	g.policy.decisions.Store(0)
	_, body := g.exchange(exchangeCase{Name: query, Method: "GET", URL: "/v2/_catalog" + query, Header: h, WantCode: 200})
	var list struct{ Repositories []string }
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		g.t.Fatal(err)
	}
	return list.Repositories, rows.rows.Load(), g.policy.decisions.Load()
}

// TestD7CatalogCost has callers page who see none or few of many repositories, by a policy of many
// rules. After the first request a page costs at most twice the rows and decisions of the same page
// of a caller who sees everything.
func TestD7CatalogCost(t *testing.T) {
	const total = 20_000
	rows := newRegistryWithRepos(t, total)
	g := serveGuarded(t, rows, Options{})
	var rules strings.Builder
	for i := range 300 {
		fmt.Fprintf(&rules, "  - {name: r%d, who: ['group:g%[1]d'], repos: ['team-%[1]d/**', 'base/*'], allow: [push]}\n", i)
	}
	g.policy.set(t, usualPolicy+rules.String()+`
  - {name: admins, who: ["group:admins"], repos: ["**"], allow: [pull]}
  - {name: some, who: ["user:carol"], repos: ["r/*000"], allow: [pull]}
`)
	g.addUser("root", "admins")
	everything := passwordHeader("root")
	for who, sees := range map[string]int{"bob": 0, "carol": total / 1000} {
		h := passwordHeader(who)
		g.getCatalogPage(rows, h, "")
		for _, n := range []int{1, 100, 10_000} {
			for _, last := range []string{"", "&last=r/0009999", "&last=z"} {
				query := "?n=" + strconv.Itoa(n) + last
				names, read, asked := g.getCatalogPage(rows, h, query)
				_, mostRead, mostAsked := g.getCatalogPage(rows, everything, query)
				if read > 2*mostRead || asked > 2*mostAsked {
					t.Errorf("%s, %s: %d rows and %d decisions, everything is %d and %d", who, query, read, asked, mostRead, mostAsked)
				}
				if want := min(sees, n); last == "" && len(names) != want {
					t.Errorf("%s, %s: %d names, want %d", who, query, len(names), want)
				}
			}
		}
	}
}

// TestC1CatalogFollows checks that each change of what a caller may see is effective with the next
// request.
func TestC1CatalogFollows(t *testing.T) {
	list := newRegistryWithRepos(t, 3000)
	g := serveGuarded(t, list, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	alice, bob := passwordHeader("alice"), passwordHeader("bob")
	sees := func(what string, h header, want ...string) {
		t.Helper()
		if names, _, _ := g.getCatalogPage(list, h, ""); !slices.Equal(names, append([]string{}, want...)) {
			t.Errorf("%s: %q, want %q", what, names, want)
		}
	}
	sees("at first", alice)
	sees("at first, another", bob)
	g.pushImageAs(alice, "team/app", "v1")
	g.pushImageAs(alice, "alice/app", "v1")
	g.pushImageAs(bob, "bob/app", "v1")
	sees("new repositories", alice, "alice/app", "team/app")
	sees("new repositories, another", bob, "bob/app")

	g.pushImageAs(bob, "bob/app", "v2")
	g.pushBlobAs(bob, "bob/upload", "no manifest")
	sees("no new repository", bob, "bob/app")

	id := g.accounts["user bob"]
	g.tx(func(tx *rows.Tx) error { return tx.SetGroups(id, []string{"team"}) })
	sees("in a group", bob, "bob/app", "team/app")
	g.tx(func(tx *rows.Tx) error { return tx.SetGroups(id, nil) })
	sees("out of it", bob, "bob/app")

	secret, _ := g.addToken("user", "alice", "repository:alice/**:pull registry:catalog:*")
	sees("a token with a scope", basicHeader("alice", secret), "alice/app")
	sees("without it", alice, "alice/app", "team/app")

	g.policy.set(t, usualPolicy+"  - {name: office, who: [authenticated], repos: ['r/000000*'], when: {ip: ['10.0.0.0/8']}, allow: [pull]}\n"+
		"  - {name: no more, who: ['user:alice'], repos: ['alice/**'], deny: [pull]}\n")
	sees("a rule that denies", alice, "team/app")
	sees("a rule for an office, elsewhere", bob, "bob/app")
	from := bob.with(header{"X-Forwarded-For": "10.1.2.3"})
	var office []string
	for i := range 10 {
		office = append(office, fmt.Sprintf("r/%07d", i))
	}
	sees("there", from, append([]string{"bob/app"}, office...)...)
	g.policy.set(t, usualPolicy)
	sees("the rules of before", alice, "alice/app", "team/app")
	sees("the rules of before, there", from, "bob/app")
}

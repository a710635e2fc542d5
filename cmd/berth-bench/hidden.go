package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// rules is how many rules the policy of many repositories has.
const rules = 305

// hidingPolicy has many rules, of which few are for one user: one lets benchUser see
// everything, and one lets spyUser see what a pattern matches.
func hidingPolicy(pattern string) string {
	var b strings.Builder
	b.WriteString("policy:\n")
	for i := range rules - 3 {
		fmt.Fprintf(&b, "  - {name: team-%d, who: ['group:team-%[1]d'], repos: ['team-%[1]d/**', 'base/*'], allow: [push, delete]}\n", i)
	}
	fmt.Fprintf(&b, `  - {name: everything, who: ["user:%s"], repos: ["**"], allow: [push]}
  - {name: something, who: ["user:%s"], repos: ["%s"], allow: [pull]}
  - {name: catalog, who: [authenticated], repos: ["**"], allow: [catalog]}
`, benchUser, spyUser, pattern)
	return b.String()
}

// hiddenScenarios compare a page of the catalog of a user who sees little with one of as
// many names of a user who sees everything, once each has asked before.
func hiddenScenarios(z sizes) []scenario {
	few := max(1, z.repos/1000)
	compare := func(name, who, pattern string, names int) scenario {
		return scenario{
			name: name, unit: "page", limit: atMost(2), kind: guardedPair, policy: hidingPolicy(pattern),
			title: fmt.Sprintf("catalog page, %s seen, against all of them", who),
			base:  catalogOf(benchUser, few, few, z), work: catalogOf(spyUser, few, names, z),
		}
	}
	return []scenario{
		compare("catalog-none", fmt.Sprintf("none of %d repositories", z.repos), "none/**", 0),
		compare("catalog-few", fmt.Sprintf("1 in 1000 of %d", z.repos), "r/*000", few),
	}
}

// catalogOf fetches the first page of n names as a user, who gets names of them.
func catalogOf(user string, n, names int, z sizes) *work {
	path := fmt.Sprintf("/v2/_catalog?n=%d", n)
	var header map[string]string // with the user's token for the process that runs
	return &work{
		seed: func(ctx context.Context, cl *client) error {
			return fillRepos(ctx, cl.with(basicHeader(benchUser, benchPassword)), z.repos)
		},
		setup: func(ctx context.Context, cl *client) error {
			own := cl.with(nil)
			if err := own.fetchToken(ctx, user, "registry:catalog:*"); err != nil {
				return err
			}
			header = own.header
			return own.checkCatalog(ctx, path, names)
		},
		ops: changes, cycles: z.cycles, clients: clients, warm: changes,
		op: func(ctx context.Context, cl *client, _ int) error { return cl.with(header).get(ctx, path, -1) },
	}
}

// checkCatalog fails unless a page has so many names.
func (c *client) checkCatalog(ctx context.Context, path string, names int) error {
	res, err := c.do(ctx, http.MethodGet, path, nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var list struct{ Repositories []string }
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	if len(list.Repositories) != names {
		return fmt.Errorf("GET %s: want %d names, got %q", path, names, list.Repositories)
	}
	return nil
}

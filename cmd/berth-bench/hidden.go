package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// hidingRules is the number of rules in the policy that hides repositories.
const hidingRules = 305

// hidingPolicy returns a policy with many rules. One of them lets benchUser pull everything, and
// one lets spyUser pull what a pattern matches.
func hidingPolicy(pattern string) string {
	var b strings.Builder
	b.WriteString("policy:\n")
	for i := range hidingRules - 3 {
		fmt.Fprintf(&b, "  - {name: team-%d, who: ['group:team-%[1]d'], repos: ['team-%[1]d/**', 'base/*'], allow: [push, delete]}\n", i)
	}
	fmt.Fprintf(&b, `  - {name: everything, who: ["user:%s"], repos: ["**"], allow: [push]}
  - {name: something, who: ["user:%s"], repos: ["%s"], allow: [pull]}
  - {name: catalog, who: [authenticated], repos: ["**"], allow: [catalog]}
`, benchUser, spyUser, pattern)
	return b.String()
}

// hiddenScenarios compare catalog pages of a user who sees few repositories with pages of a user
// who sees all of them. Both pages have as many names, and both users have requested a page before.
func hiddenScenarios(z sizes) []scenario {
	few := max(1, z.repos/1000)
	compare := func(name, who, pattern string, names int) scenario {
		return scenario{
			name: name, unit: "page", limit: ratioLimit(2), kind: authPair, policy: hidingPolicy(pattern),
			title: fmt.Sprintf("catalog page, %s seen, against all of them", who),
			base:  catalogOf(benchUser, few, few, z), work: catalogOf(spyUser, few, names, z),
		}
	}
	return []scenario{
		compare("catalog-none", fmt.Sprintf("none of %d repositories", z.repos), "none/**", 0),
		compare("catalog-few", fmt.Sprintf("1 in 1000 of %d", z.repos), "r/*000", few),
	}
}

// catalogOf returns work that fetches the first page of the catalog as a user. The page is limited
// to n names and must have exactly names.
func catalogOf(user string, n, names int, z sizes) *work {
	path := fmt.Sprintf("/v2/_catalog?n=%d", n)
	var header map[string]string // has the user's token for the running process
	return &work{
		seed: func(ctx context.Context, cl *client) error {
			return fillRepos(ctx, cl.withHeader(basicHeader(benchUser, benchPassword)), z.repos)
		},
		setup: func(ctx context.Context, cl *client) error {
			own := cl.withHeader(nil)
			if err := own.fetchToken(ctx, user, "registry:catalog:*"); err != nil {
				return err
			}
			header = own.header
			return own.checkCatalog(ctx, path, names)
		},
		ops: changesPerCycle, cycles: z.cycles, clients: clients, warmUpOps: changesPerCycle,
		op: func(ctx context.Context, cl *client, _ int) error { return cl.withHeader(header).get(ctx, path, -1) },
	}
}

// checkCatalog checks the number of names on a page.
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

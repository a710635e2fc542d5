package api

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/berth-registry/berth/auth"
)

// catalogPage is how many repositories are listed when the client does not say.
const catalogPage = 1000

// listRepositories lists the repositories that the caller may pull from, in byte
// order (Docker's API, "Catalog"). What it may not see is left out before pages are
// made, so that no Link names it; as a position any name will do.
func (a *API) listRepositories(w *response, r *request) error {
	p, err := r.page()
	if err != nil {
		return err
	}
	if p.n < 0 {
		p.n = catalogPage
	}
	names, more, err := collect(p.n, p.last, func(last string, n int) ([]string, error) {
		return a.registry.Repositories(r.Context(), last, n)
	}, func(repo string) bool {
		return a.policy.Decide(r.caller, r.origin.addr, auth.Pull, repo).Allowed
	})
	if err != nil {
		return err
	}
	if more && p.n > 0 {
		nextPage(w, "/v2/_catalog", url.Values{"n": {strconv.Itoa(p.n)}, "last": {names[len(names)-1]}})
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string][]string{"repositories": names})
}

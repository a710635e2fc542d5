package api

import (
	"net/http"
	"net/url"
	"strconv"
)

// catalogPage is how many repositories are listed when the client does not say.
const catalogPage = 1000

// listRepositories lists the repositories in byte order (Docker's API,
// "Catalog").
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
	})
	if err != nil {
		return err
	}
	if more && p.n > 0 {
		nextPage(w, "/v2/_catalog", url.Values{"n": {strconv.Itoa(p.n)}, "last": {names[len(names)-1]}})
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string][]string{"repositories": names})
}

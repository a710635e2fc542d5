package api

import (
	"net/http"
	"net/url"
	"strconv"
)

const (
	// catalogPage is how many repositories are listed when the client does not say.
	catalogPage = 1000
	// catalogBytes is the memory for what is known of the lists that callers see.
	catalogBytes = 8 << 20
)

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
	names, more, err := a.catalog.Page(r.Context(), a.policy.View(r.caller, r.origin.addr), p.last, p.n)
	if err != nil {
		return err
	}
	if more {
		nextPage(w, "/v2/_catalog", url.Values{"n": {strconv.Itoa(p.n)}, "last": {names[len(names)-1]}})
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string][]string{"repositories": names})
}

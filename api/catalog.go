package api

import "github.com/berth-registry/berth/api/web"

const (
	// catalogPage is the number of repositories on a page when the request has no n.
	catalogPage = 1000
	// catalogBytes is the size of the catalog's cache of lists.
	catalogBytes = 8 << 20
)

// listRepositories lists the repositories that the caller may pull from, in byte order (Docker's
// API, "Catalog"). The others are removed before pages are made, so that no Link contains their
// names. The parameter last need not be the name of a repository.
func (a *API) listRepositories(w *web.Response, r *request) error {
	p, err := r.page()
	if err != nil {
		return err
	}
	if p.n < 0 {
		p.n = catalogPage
	}
	view := a.policy.View(r.caller, r.origin.Addr)
	repositories := nameList{
		path:   "/v2/_catalog",
		prefix: `{"repositories":[`,
		query: func(last string, n int) ([]string, error) {
			page, _, err := a.catalog.Page(r.Context(), view, last, n)
			return page, err
		},
	}
	return repositories.send(w, p)
}

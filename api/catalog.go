package api

import "github.com/berth-registry/berth/api/web"

const (
	// catalogPage is how many repositories are listed when the client does not say.
	catalogPage = 1000
	// catalogBytes is the memory for what is known of the lists that callers see.
	catalogBytes = 8 << 20
)

// listRepositories lists the repositories that the caller may pull from, in byte
// order (Docker's API, "Catalog"). What it may not see is left out before pages are
// made, so that no Link names it; as a position any name will do.
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

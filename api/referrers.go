package api

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/berth-registry/berth/manifest"
)

// referrersPage bounds a page of referrers; storage ends one earlier where the
// annotations are large, so that a page stays well under what clients read.
const referrersPage = 100

// listReferrers lists the manifests whose subject is the digest, as an image
// index (spec, "Listing Referrers"). A digest that nothing refers to, or that
// is not there, has an empty list.
func (a *API) listReferrers(w *response, r *request) error {
	q, err := r.parameters()
	if err != nil {
		return err
	}
	artifactType, err := q.one("artifactType", errParameter)
	if err != nil {
		return err
	}
	last, err := q.digest("last")
	if err != nil {
		return err
	}
	p, err := r.page()
	if err != nil {
		return err
	}
	n := referrersPage
	if p.n > 0 {
		n = min(n, p.n)
	}
	descs, more, err := a.registry.Referrers(r.Context(), r.repo, r.digest, artifactType, last, n)
	if err != nil {
		return err
	}
	body, err := manifest.ReferrersIndex(descs)
	if err != nil {
		return err
	}
	if artifactType != "" {
		w.Header().Set("Oci-Filters-Applied", "artifactType")
	}
	if more && len(descs) > 0 {
		next := url.Values{"last": {descs[len(descs)-1].Digest.String()}}
		if artifactType != "" {
			next.Set("artifactType", artifactType)
		}
		if p.n > 0 {
			next.Set("n", strconv.Itoa(p.n))
		}
		nextPage(w, "/v2/"+r.repo+"/referrers/"+r.digest.String(), next)
	}
	return writeBody(w, http.StatusOK, manifest.MediaTypeIndex, body)
}

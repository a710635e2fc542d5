package api

import (
	"math"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// maxReferrers bounds the body of a list of referrers, in bytes. It is the size of the largest
// index that every client reads. The bound is not lower because many clients do not follow a Link,
// and would miss signatures.
const maxReferrers = 4 << 20

// referrersPage is the part of a list of referrers that a request asks for.
type referrersPage struct {
	storage.ReferrerQuery
	last digest.Digest // entries follow this digest
	n    int           // maximum number of entries; -1 when the request has none
}

func (r *request) referrers() (referrersPage, error) {
	p := referrersPage{ReferrerQuery: storage.ReferrerQuery{Repo: r.repo, Subject: r.digest}}
	q, err := r.parameters()
	if err != nil {
		return p, err
	}
	if p.ArtifactType, err = q.single("artifactType", errParameter); err != nil {
		return p, err
	}
	if p.last, err = q.digest("last"); err != nil {
		return p, err
	}
	p.n, err = q.count()
	return p, err
}

// extent returns where the page ends: after n entries or maxReferrers bytes.
func (p referrersPage) extent(r *request, lists storage.Lists) (storage.Extent, error) {
	n := p.n
	switch {
	case n == 0:
		return storage.Extent{}, nil
	case n < 0:
		n = math.MaxInt
	}
	return lists.ReferrersExtent(r.Context(), p.ReferrerQuery, p.last, n, maxReferrers-manifest.IndexOverhead)
}

// nextQuery returns the query of the page that follows last.
func (p referrersPage) nextQuery(last digest.Digest) url.Values {
	next := url.Values{"last": {last.String()}}
	if p.ArtifactType != "" {
		next.Set("artifactType", p.ArtifactType)
	}
	if p.n > 0 {
		next.Set("n", strconv.Itoa(p.n))
	}
	return next
}

// listReferrers lists the manifests whose subject is the digest, as an image index (spec, "Listing
// Referrers"). The list is empty if the digest has no referrers or is not in the repository.
func (a *API) listReferrers(w *web.Response, r *request) error {
	p, err := r.referrers()
	if err != nil {
		return err
	}
	extent, err := p.extent(r, a.registry)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", manifest.MediaTypeIndex)
	if p.ArtifactType != "" {
		h.Set("Oci-Filters-Applied", "artifactType")
	}
	if extent.More {
		setNextLink(w, "/v2/"+r.repo+"/referrers/"+r.digest.String(), p.nextQuery(extent.End))
	}
	if w.Head() {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return a.sendReferrers(w, r, p, extent)
}

// sendReferrers writes the descriptors of an extent. Each batch is read completely before it is
// sent, so that neither memory nor a database cursor is held while the client reads.
func (a *API) sendReferrers(w *web.Response, r *request, p referrersPage, extent storage.Extent) error {
	index := manifest.NewIndexWriter(w)
	last := p.last
	for more := extent.End != ""; more; more = last != extent.End {
		page, err := a.registry.Referrers(r.Context(), p.ReferrerQuery, last, extent)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break // the others were deleted meanwhile
		}
		last = page[len(page)-1].Digest
		if err := index.Add(page); err != nil {
			return err
		}
	}
	if err := index.Close(); err != nil {
		return err
	}
	// Without a flush a short answer would have a Content-Length, which HEAD does not have.
	return w.FlushError()
}

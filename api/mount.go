package api

import (
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
)

// maxMountSources bounds how many repositories a mount without a source looks at.
const maxMountSources = 100

// mount makes a blob of another repository one of this, where the caller may pull from that one
// (spec, "Mounting a blob from another repository").
//
// Errors: storage.ErrBlobUnknown where there is nothing to mount, and the client has to bring the
// bytes. A repository from which the caller may not pull is answered as one that lacks the blob: a
// 401 or 403 ends the push of old clients. Only where the policy allows it and the token does not
// is the client told which token to fetch.
func (a *API) mount(w *web.Response, r *request, q uploadQuery) (storage.Blob, error) {
	from := q.from
	switch {
	case from == "":
		var err error
		if from, err = a.findMountSource(r, q.mount); err != nil {
			return storage.Blob{}, err
		}
	case !a.policyAllows(r, auth.Pull, from):
		return storage.Blob{}, storage.ErrBlobUnknown
	case !r.tokenGrants(auth.Pull, from):
		return storage.Blob{}, a.unauthorized(w, r, insufficientScope, "the token does not allow pulling from the repository to mount from", r.requiredAccess(auth.Push))
	}
	if err := a.reserveAudit(r); err != nil {
		return storage.Blob{}, err
	}
	return a.registry.Mount(r.Context(), r.caller.Owner(), r.repo, q.mount, from)
}

// mountSource returns a repository that has the blob and that the caller may pull from, for a
// client that names none. A token is worth its access: the repository to push to and those that it
// names for pulling. Otherwise the policy alone decides, of the first maxMountSources that have the
// blob.
//
// Errors: storage.ErrBlobUnknown.
func (a *API) findMountSource(r *request, d digest.Digest) (string, error) {
	has := func(repo string) (bool, error) {
		_, err := a.registry.Blob(r.Context(), repo, d)
		if errors.Is(err, storage.ErrBlobUnknown) {
			return false, nil
		}
		return err == nil, err
	}
	candidates := r.pullable()
	if r.authorization.scheme != schemeBearer {
		var err error
		if candidates, err = a.registry.BlobRepositories(r.Context(), d, maxMountSources); err != nil {
			return "", err
		}
		has = func(string) (bool, error) { return true, nil }
	}
	for _, repo := range candidates[:min(len(candidates), maxMountSources)] {
		if !a.policyAllows(r, auth.Pull, repo) {
			continue
		}
		if ok, err := has(repo); ok || err != nil {
			return repo, err
		}
	}
	return "", storage.ErrBlobUnknown
}

// pullable returns the repositories that the token names for pulling, the request's own first.
func (r *request) pullable() []string {
	repos := []string{r.repo}
	for _, access := range r.access {
		if access.Type == "repository" && access.Name != r.repo && r.tokenGrants(auth.Pull, access.Name) {
			repos = append(repos, access.Name)
		}
	}
	return repos
}

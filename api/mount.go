package api

import (
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
)

// maxMountSources bounds how many repositories are tried for a mount without a source.
const maxMountSources = 100

// mount adds a blob of another repository to this one. The caller must be allowed to pull from the
// other (spec, "Mounting a blob from another repository").
//
// Errors: storage.ErrBlobUnknown when there is nothing to mount, and the client has to upload the
// bytes. That is also the error when the policy does not let the caller pull from the source: a 401
// or 403 would end the push of old clients. If the policy allows the pull and only the token does
// not, the error is a 401, which tells the client which token to fetch.
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
		return storage.Blob{}, a.unauthorized(w, r, insufficientScope,
			"the token does not allow pulling from the repository to mount from", r.requiredAccess(auth.Push))
	}
	if err := a.reserveAudit(r); err != nil {
		return storage.Blob{}, err
	}
	return a.registry.Mount(r.Context(), r.caller.Owner(), r.repo, q.mount, from)
}

// findMountSource returns a repository that has the blob and that the caller may pull from, for a
// mount that names no source. With a registry token the candidates are those of pullable. Otherwise
// they are the first maxMountSources repositories that have the blob, and the policy alone decides.
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

// pullable returns the request's repository, and then those that the registry token lets the caller
// pull from.
func (r *request) pullable() []string {
	repos := []string{r.repo}
	for _, access := range r.access {
		if access.Type == "repository" && access.Name != r.repo && r.tokenGrants(auth.Pull, access.Name) {
			repos = append(repos, access.Name)
		}
	}
	return repos
}

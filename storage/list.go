package storage

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

// Repositories implements [Lists].
func (r *Registry) Repositories(ctx context.Context, last string, n int) ([]string, error) {
	return r.db.Repositories(last, n)
}

// Tags implements [Lists].
func (r *Registry) Tags(ctx context.Context, repo, last string, n int) ([]string, error) {
	tags, err := r.db.Tags(repo, last, n)
	return tags, orUnknown(err, ErrNameUnknown, "no repository %s", repo)
}

// Referrers implements [Lists].
func (r *Registry) Referrers(ctx context.Context, repo string, d digest.Digest, artifactType string, last digest.Digest, n int) ([]manifest.Descriptor, bool, error) {
	return r.db.Referrers(repo, d.String(), artifactType, last.String(), n)
}

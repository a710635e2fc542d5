package storage

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

// Repositories implements [Lists].
func (r *Registry) Repositories(ctx context.Context, after, before string, n int) ([]string, error) {
	return r.db.Repositories(after, before, n)
}

// ListVersion implements [Lists].
func (r *Registry) ListVersion(ctx context.Context) (int64, error) { return r.db.ListVersion() }

// Listed implements [Lists].
func (r *Registry) Listed(ctx context.Context, since int64, n int) ([]string, int64, error) {
	return r.db.Listed(since, n)
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

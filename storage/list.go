package storage

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage/meta"
)

// Repositories implements [Lists].
func (r *Registry) Repositories(ctx context.Context, after, before string, n int) ([]string, error) {
	return r.db.Repositories(ctx, after, before, n)
}

// ListVersion implements [Lists].
func (r *Registry) ListVersion(ctx context.Context) (int64, error) { return r.db.ListVersion(ctx) }

// Listed implements [Lists].
func (r *Registry) ListedSince(ctx context.Context, since int64, n int) ([]string, int64, error) {
	return r.db.Listed(ctx, since, n)
}

// Tags implements [Lists].
func (r *Registry) Tags(ctx context.Context, repo, last string, n int) ([]string, error) {
	tags, err := r.db.Tags(ctx, repo, last, n)
	return tags, orUnknown(err, ErrNameUnknown, "no repository %s", repo)
}

// ReferrersExtent implements [Lists].
func (r *Registry) ReferrersExtent(ctx context.Context, q ReferrerQuery, last digest.Digest, n, bytes int) (Extent, error) {
	e, err := r.db.Extent(ctx, q.toMeta(), last.String(), n, bytes)
	return Extent{End: digest.Digest(e.End), More: e.More, newest: e.Newest}, err
}

// Referrers implements [Lists].
func (r *Registry) Referrers(ctx context.Context, q ReferrerQuery, last digest.Digest, e Extent) ([]manifest.Descriptor, error) {
	return r.db.Referrers(ctx, q.toMeta(), last.String(), meta.Extent{End: e.End.String(), Newest: e.newest})
}

func (q ReferrerQuery) toMeta() meta.ReferrerQuery {
	return meta.ReferrerQuery{Repository: q.Repo, Subject: q.Subject.String(), ArtifactType: q.ArtifactType}
}

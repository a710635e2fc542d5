package meta

import (
	"context"
	"math"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

// referrers writes manifests whose subject is s: in a of two types, whose ids are in another order
// than their digests, and one in b. Their descriptors have 10 bytes.
func (s *suite) referrers() {
	s.Helper()
	s.fill()
	s.exec(`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, subject_digest, annotations, descriptor_size, size, created_at, payload) VALUES
		(2001, 1002, 'r5', 'm', 'x', 's', 'null', 10, 5, 1, $1), (2002, 1002, 'r1', 'm', 'x', 's', '{"k":"v"}', 10, 1, 1, $1),
		(2003, 1002, 'r4', 'm', 'y', 's', 'null', 10, 4, 1, $1), (2004, 1002, 'r2', 'm', 'y', 's', 'null', 10, 2, 1, $1),
		(2005, 1002, 'r3', 'm', 'x', 's', 'null', 10, 3, 1, $1),
		(2006, 1002, 'r0', 'm', 'x', 'other', 'null', 10, 3, 1, $1), (2007, 1001, 'r6', 'm', 'x', 's', 'null', 10, 3, 1, $1)`, []byte("p"))
}

func (s *suite) testExtents() {
	s.referrers()
	extent := func(artifactType, last string, n, bytes int) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			return s.db.Extent(ctx, ReferrerQuery{"a", "s", artifactType}, last, n, bytes)
		}
	}
	s.reads([]read{
		{"all", extent("", "", 9, 99), Extent{"r5", false, 2007}, nil},
		{"exactly as many as there are", extent("", "", 5, 55), Extent{"r5", false, 2007}, nil},
		{"one less", extent("", "", 4, 99), Extent{"r4", true, 2007}, nil},
		{"a byte less", extent("", "", 9, 54), Extent{"r4", true, 2007}, nil},
		{"one that is too long", extent("", "", 9, 1), Extent{"r1", true, 2007}, nil},
		{"after a digest", extent("", "r2", 2, 99), Extent{"r4", true, 2007}, nil},
		{"the last", extent("", "r4", 1, 99), Extent{"r5", false, 2007}, nil},
		{"after the last", extent("", "r5", 9, 99), Extent{"", false, 2007}, nil},
		{"of a type", extent("y", "", 9, 99), Extent{"r4", false, 2007}, nil},
		{"one of a type", extent("y", "", 1, 99), Extent{"r2", true, 2007}, nil},
		{"of another type", extent("z", "", 9, 99), Extent{"", false, 2007}, nil},
		{"of another subject", func(ctx context.Context) (any, error) {
			return s.db.Extent(ctx, ReferrerQuery{"a", "none", ""}, "", 9, 99)
		}, Extent{"", false, 2007}, nil},
	})
}

func (s *suite) testReferrers() {
	s.referrers()
	digests := func(artifactType, last string, e Extent) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			page, err := s.db.Referrers(ctx, ReferrerQuery{"a", "s", artifactType}, last, e)
			var all []string
			for _, d := range page {
				all = append(all, d.Digest.String())
			}
			return strings.Join(all, " "), err
		}
	}
	all := Extent{End: "r5", Newest: math.MaxInt64}
	s.reads([]read{
		{"whole descriptors", func(ctx context.Context) (any, error) {
			return s.db.Referrers(ctx, ReferrerQuery{"a", "s", ""}, "", Extent{End: "r2", Newest: math.MaxInt64})
		}, []manifest.Descriptor{
			{MediaType: "m", ArtifactType: "x", Digest: "r1", Size: 1, Annotations: []byte(`{"k":"v"}`)},
			{MediaType: "m", ArtifactType: "y", Digest: digest.Digest("r2"), Size: 2},
		}, nil},
		{"all, by digest", digests("", "", all), "r1 r2 r3 r4 r5", nil},
		{"after a digest", digests("", "r2", all), "r3 r4 r5", nil},
		{"up to the end", digests("", "", Extent{End: "r3", Newest: math.MaxInt64}), "r1 r2 r3", nil},
		{"without newer ones", digests("", "", Extent{End: "r5", Newest: 2003}), "r1 r4 r5", nil},
		{"of a type", digests("y", "", all), "r2 r4", nil},
		{"after the last", digests("", "r5", all), "", nil},
	})
	// A page has 64 KiB, or one descriptor.
	s.exec(`UPDATE manifests SET descriptor_size = CASE digest WHEN 'r3' THEN $1 WHEN 'r4' THEN $2 ELSE 1 END WHERE subject_digest = 's'`, referrersPage-2, referrersPage+1)
	s.reads([]read{
		{"a page that is full", digests("", "", all), "r1 r2 r3", nil},
		{"a page of one that is too long", digests("", "r3", all), "r4", nil},
		{"the last page", digests("", "r4", all), "r5", nil},
	})
}

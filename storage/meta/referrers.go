package meta

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/manifest"
)

const (
	// referrersPage bounds the JSON of the descriptors that are read at once, in bytes.
	referrersPage = 64 << 10
	// lengthsStep is how many lengths are read at once.
	lengthsStep = 1000
	// noAnnotations is the value of the column annotations for a descriptor without annotations.
	noAnnotations = "null"
)

// ReferrerQuery selects the referrers of a subject in a repository.
type ReferrerQuery struct {
	Repository   string
	Subject      string // a digest
	ArtifactType string // "" for all
}

// Extent is the part of a list of referrers that one answer has: the referrers up to a digest,
// without those that were added after the extent was made.
type Extent struct {
	End    string // the digest of the last referrer; "" if there is none
	More   bool   // whether other referrers follow
	Newest int64  // the id of the newest manifest that may be in the list
}

const (
	referrersSQL = ` FROM repositories r JOIN manifests m ON m.repository_id = r.id
		WHERE r.name = $1 AND m.subject_digest = $2 AND m.digest > $3 AND m.id <= $4 `
	ofTypeSQL = ` AND m.artifact_type = $6 `

	// An index has all columns of these two but the name of the repository.
	lengthsSQL       = `SELECT m.digest, m.descriptor_size` + referrersSQL + ` ORDER BY m.digest LIMIT $5`
	lengthsOfTypeSQL = `SELECT m.digest, m.descriptor_size` + referrersSQL + ofTypeSQL + ` ORDER BY m.digest LIMIT $5`

	descriptorColumns    = `SELECT m.digest, m.descriptor_size, m.media_type, m.artifact_type, m.size, m.annotations`
	descriptorsSQL       = descriptorColumns + referrersSQL + ` AND m.digest <= $5 ORDER BY m.digest`
	descriptorsOfTypeSQL = descriptorColumns + referrersSQL + ofTypeSQL + ` AND m.digest <= $5 ORDER BY m.digest`
)

// Extent returns the extent of an answer that begins after the digest last. The answer has at most
// n descriptors, where n is at least 1, and at most so many bytes of their JSON, counting a comma
// for each. The first descriptor always fits.
func (d *DB) Extent(ctx context.Context, q ReferrerQuery, last string, n, bytes int) (e Extent, err error) {
	if err := d.queryRow(ctx, `SELECT COALESCE(MAX(id), 0) FROM manifests`).Scan(&e.Newest); err != nil {
		return e, err
	}
	for read := lengthsStep; read == lengthsStep && !e.More; last = e.End {
		read = 0
		err := d.scanReferrers(ctx, q, lengthsSQL, lengthsOfTypeSQL, last, e.Newest, lengthsStep, func(row db.Row) (bool, error) {
			var dgst string
			var size int
			if err := row.Scan(&dgst, &size); err != nil {
				return false, err
			}
			read, n, bytes = read+1, n-1, bytes-size-1
			if e.More = e.End != "" && (n < 0 || bytes < 0); !e.More {
				e.End = dgst
			}
			return !e.More, nil
		})
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

// Referrers returns the next descriptors of an extent after the digest last, in the order of their
// digests: as many as have 64 KiB of JSON, or one that is longer. After the end of the extent it
// returns none.
func (d *DB) Referrers(ctx context.Context, q ReferrerQuery, last string, e Extent) (page []manifest.Descriptor, err error) {
	bytes := 0
	err = d.scanReferrers(ctx, q, descriptorsSQL, descriptorsOfTypeSQL, last, e.Newest, e.End, func(row db.Row) (bool, error) {
		var d manifest.Descriptor
		var dgst string
		var size int
		var annotations []byte
		if err := row.Scan(&dgst, &size, &d.MediaType, &d.ArtifactType, &d.Size, &annotations); err != nil {
			return false, err
		}
		if bytes += size; len(page) > 0 && bytes > referrersPage {
			return false, nil
		}
		d.Digest = digest.Digest(dgst)
		if string(annotations) != noAnnotations {
			d.Annotations = annotations
		}
		page = append(page, d)
		return true, nil
	})
	return page, err
}

// scanReferrers scans the referrers after the digest last whose id is not greater than newest.
// bound is the argument $5 of both queries.
func (d *DB) scanReferrers(
	ctx context.Context, q ReferrerQuery, all, ofType, last string, newest int64, bound any, each func(db.Row) (bool, error),
) error {
	query, args := all, []any{q.Repository, q.Subject, storableBound(last), newest, bound}
	if !db.Storable(q.ArtifactType) {
		return nil
	}
	if q.ArtifactType != "" {
		query, args = ofType, append(args, q.ArtifactType)
	}
	return d.db.Scan(ctx, query, args, each)
}

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
	// noAnnotations is what the column annotations has for a descriptor without.
	noAnnotations = "null"
)

// ReferrerQuery selects the manifests of a repository that have a subject.
type ReferrerQuery struct {
	Repository   string
	Subject      string // a digest
	ArtifactType string // "" for all
}

// Extent is the part of a list of referrers that one answer has: those up to a digest that were
// there when it was made.
type Extent struct {
	End    string // a digest; "" where there are none
	More   bool   // others follow
	Newest int64  // id of a manifest; those that came later are not in the list
}

const (
	referrersSQL = ` FROM repositories r JOIN manifests m ON m.repository_id = r.id
		WHERE r.name = $1 AND m.subject_digest = $2 AND m.digest > $3 AND m.id <= $4 `
	ofTypeSQL = ` AND m.artifact_type = $6 `

	// Of both an index has all columns but the name.
	lengthsSQL       = `SELECT m.digest, m.descriptor_size` + referrersSQL + ` ORDER BY m.digest LIMIT $5`
	lengthsOfTypeSQL = `SELECT m.digest, m.descriptor_size` + referrersSQL + ofTypeSQL + ` ORDER BY m.digest LIMIT $5`

	descriptorColumns    = `SELECT m.digest, m.descriptor_size, m.media_type, m.artifact_type, m.size, m.annotations`
	descriptorsSQL       = descriptorColumns + referrersSQL + ` AND m.digest <= $5 ORDER BY m.digest`
	descriptorsOfTypeSQL = descriptorColumns + referrersSQL + ofTypeSQL + ` AND m.digest <= $5 ORDER BY m.digest`
)

// Extent returns how far an answer goes that begins after a digest. It has at most n descriptors,
// which must be at least 1, and at most so many bytes of their JSON, with a comma for each. The
// first descriptor always fits.
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

// Referrers returns the descriptors of an extent after a digest, in the order of their digests:
// 64 KiB of JSON at most, or one. After the last of the extent it returns none.
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

// scanReferrers scans those after a digest that are not newer than a manifest. bound is the
// argument $5 of both queries.
func (d *DB) scanReferrers(
	ctx context.Context, q ReferrerQuery, all, ofType, last string, newest int64, bound any, each func(db.Row) (bool, error),
) error {
	query, args := all, []any{q.Repository, q.Subject, last, newest, bound}
	if q.ArtifactType != "" {
		query, args = ofType, append(args, q.ArtifactType)
	}
	return d.db.Scan(ctx, query, args, each)
}

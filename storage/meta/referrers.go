package meta

import (
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

// maxPageBytes bounds the annotations of one page of referrers, of which a
// single one may have megabytes.
const maxPageBytes = 2 << 20

// Referrers returns at most n manifests of a repository whose subject is a digest, in the order
// of their digests after last, and whether more follow.
func (db *DB) Referrers(repo, subject, artifactType, last string, n int) (page []manifest.Descriptor, more bool, err error) {
	const columns = `SELECT m.id, m.digest, m.media_type, m.artifact_type, m.size, LENGTH(m.annotations)
		FROM repositories r JOIN manifests m ON m.repository_id = r.id
		WHERE r.name = $1 AND m.subject_digest = $2 AND m.digest > $3 `
	query, args := columns+`ORDER BY m.digest LIMIT $4`, []any{repo, subject, last, n + 1}
	if artifactType != "" {
		query, args = columns+`AND m.artifact_type = $5 ORDER BY m.digest LIMIT $4`, append(args, artifactType)
	}
	rows, err := db.query(query, args...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	var ids []int64
	for bytes := 0; rows.Next(); {
		if len(page) == n || bytes > maxPageBytes {
			more = true
			break
		}
		var d manifest.Descriptor
		var id int64
		var dgst string
		var length int
		if err := rows.Scan(&id, &dgst, &d.MediaType, &d.ArtifactType, &d.Size, &length); err != nil {
			return nil, false, err
		}
		d.Digest = digest.Digest(dgst)
		bytes += length
		page, ids = append(page, d), append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, false, err
	}
	return page, more, db.annotate(page, ids)
}

// annotate gives each descriptor the annotations of the manifest with its id. One that was
// deleted meanwhile has none.
func (db *DB) annotate(page []manifest.Descriptor, ids []int64) error {
	rows, err := db.query(`SELECT id, annotations FROM manifests
		WHERE annotations <> 'null' AND id IN (SELECT value FROM json_each($1))`, jsonText(ids))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var annotations []byte
		if err := rows.Scan(&id, &annotations); err != nil {
			return err
		}
		if err := json.Unmarshal(annotations, &page[slices.Index(ids, id)].Annotations); err != nil {
			return err
		}
	}
	return rows.Err()
}

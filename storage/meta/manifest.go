package meta

import (
	"context"

	"github.com/berth-registry/berth/manifest"
)

// Manifest is the row of a manifest without its payload.
type Manifest struct {
	ID           int64
	Digest       string
	MediaType    string
	ArtifactType string
	Size         int64
}

// ManifestByTag returns the manifest that a tag points at, or fs.ErrNotExist.
func (d *DB) ManifestByTag(ctx context.Context, repo, tag string) (Manifest, error) {
	var m Manifest
	err := d.queryRow(ctx, `SELECT m.id, m.digest, m.media_type, m.artifact_type, m.size
		FROM repositories r
		JOIN tags t ON t.repository_id = r.id AND t.name = $2
		JOIN manifests m ON m.id = t.manifest_id
		WHERE r.name = $1`, repo, tag).Scan(&m.ID, &m.Digest, &m.MediaType, &m.ArtifactType, &m.Size)
	return m, err
}

// ManifestByDigest returns a manifest of a repository, or fs.ErrNotExist.
func (d *DB) ManifestByDigest(ctx context.Context, repo, digest string) (Manifest, error) {
	m := Manifest{Digest: digest}
	err := d.queryRow(ctx, `SELECT m.id, m.media_type, m.artifact_type, m.size
		FROM repositories r
		JOIN manifests m ON m.repository_id = r.id AND m.digest = $2
		WHERE r.name = $1`, repo, digest).Scan(&m.ID, &m.MediaType, &m.ArtifactType, &m.Size)
	return m, err
}

// Payload returns the bytes of a manifest, or fs.ErrNotExist.
func (d *DB) Payload(ctx context.Context, id int64, digest string) ([]byte, error) {
	var payload []byte
	err := d.queryRow(ctx, `SELECT payload FROM manifests WHERE id = $1 AND digest = $2`, id, digest).Scan(&payload)
	return payload, err
}

// ManifestID returns the id of a manifest of a repository, or fs.ErrNotExist.
func (r Repo) ManifestID(digest string) (int64, error) {
	var id int64
	err := r.tx.queryRow(`SELECT id FROM manifests WHERE repository_id = $1 AND digest = $2`, r.id, digest).Scan(&id)
	return id, err
}

// SaveManifest inserts a manifest, or sets the media type of the one with its digest, and returns
// the row's id and size. A signed schema 1 manifest may come again with other signatures: then the
// row stays as it is. A stored payload that does not match the digest is replaced.
func (r Repo) SaveManifest(m *manifest.Manifest, now int64) (id, size int64, err error) {
	annotations, descriptorSize, err := describe(m)
	if err != nil {
		return 0, 0, err
	}
	var same bool
	r.tx.markChanged(r.name) // queryRow does not
	err = r.tx.queryRow(`INSERT INTO manifests
		(repository_id, digest, media_type, artifact_type, subject_digest, annotations, descriptor_size, size, created_at, payload)
		VALUES ($1, $2, $3, $4, NULLIF($5, ''), $6, $7, $8, $9, $10)
		ON CONFLICT (repository_id, digest) DO UPDATE
			SET media_type = CASE WHEN manifests.payload = excluded.payload THEN excluded.media_type ELSE manifests.media_type END
		RETURNING id, size, payload = $10`, r.id, m.Digest.String(), m.MediaType, m.ArtifactType, m.Subject.String(), annotations, descriptorSize,
		int64(len(m.Payload)), now, m.Payload).Scan(&id, &size, &same)
	if err != nil || same {
		return id, size, err
	}
	var mediaType string
	var payload []byte
	if err := r.tx.queryRow(`SELECT media_type, payload FROM manifests WHERE id = $1`, id).Scan(&mediaType, &payload); err != nil {
		return 0, 0, err
	}
	if manifest.DigestMatches(m.Digest, mediaType, payload) {
		return id, size, nil
	}
	_, err = r.exec(`UPDATE manifests SET media_type = $2, artifact_type = $3, subject_digest = NULLIF($4, ''),
			annotations = $5, descriptor_size = $6, size = $7, payload = $8
		WHERE id = $1`, id, m.MediaType, m.ArtifactType, m.Subject.String(), annotations, descriptorSize, int64(len(m.Payload)), m.Payload)
	return id, int64(len(m.Payload)), err
}

// describe returns the columns of a manifest that lists of referrers need: the annotations of its
// descriptor, and the length of the descriptor's JSON in bytes.
func describe(m *manifest.Manifest) (annotations string, size int, err error) {
	d, err := m.Descriptor()
	if err != nil {
		return "", 0, err
	}
	text, err := d.JSON()
	if err != nil {
		return "", 0, err
	}
	if d.Annotations == nil {
		return noAnnotations, len(text), nil
	}
	return string(d.Annotations), len(text), nil
}

// AddReferences records the links of a manifest. The repository must have a content under each
// digest, if only a placeholder.
func (r Repo) AddReferences(manifestID int64, links []manifest.Link) error {
	type reference struct {
		Digest string `json:"digest"`
		Child  bool   `json:"child"`
	}
	refs := make([]reference, len(links))
	for i, l := range links {
		refs[i] = reference{l.Digest.String(), l.Child}
	}
	_, err := r.exec(`INSERT INTO manifest_references (repository_id, manifest_id, digest, child)
		SELECT $1, $2, digest, child FROM `+r.tx.each(3, "digest text", "child boolean")+` WHERE true
		ON CONFLICT (manifest_id, digest) DO NOTHING`, r.id, manifestID, refs)
	return err
}

// ReferencedBy returns the digest of a manifest that links a digest: of an index that lists it if
// child is true, else of a manifest that links it otherwise. It returns fs.ErrNotExist if there is
// none.
func (r Repo) ReferencedBy(digest string, child bool) (string, error) {
	var namer string
	err := r.tx.queryRow(`SELECT m.digest FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id
		WHERE f.repository_id = $1 AND f.digest = $2 AND f.child = $3 LIMIT 1`, r.id, digest, child).Scan(&namer)
	return namer, err
}

// DeleteManifest removes a manifest and its links, and touches the contents that it linked. It
// fails if a tag points at the manifest. Placeholders that no manifest links any more go too.
func (r Repo) DeleteManifest(id int64, digest string, now int64) error {
	_, err := r.exec(`UPDATE repository_contents SET touched_at = $3
		WHERE repository_id = $1 AND digest IN (SELECT digest FROM manifest_references WHERE manifest_id = $2)`, r.id, id, now)
	if err != nil {
		return err
	}
	absent, err := r.linkedPlaceholders(id)
	if err != nil {
		return err
	}
	for _, query := range []string{
		`DELETE FROM manifest_references WHERE manifest_id = $1`,
		`UPDATE repository_contents SET manifest_id = NULL WHERE manifest_id = $1`,
		`DELETE FROM manifests WHERE id = $1`,
	} {
		if _, err := r.exec(query, id); err != nil {
			return err
		}
	}
	return r.dropPlaceholders(append(absent, digest))
}

// linkedPlaceholders returns the digests of the placeholders that a manifest links.
func (r Repo) linkedPlaceholders(id int64) ([]string, error) {
	// CROSS JOIN: without statistics SQLite would begin with the whole repository.
	return scanNames(r.tx.query(`SELECT f.digest FROM manifest_references f
		CROSS JOIN repository_contents c
		WHERE f.manifest_id = $2 AND c.repository_id = $1 AND c.digest = f.digest AND c.blob_id IS NULL AND c.manifest_id IS NULL`, r.id, id))
}

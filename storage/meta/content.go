package meta

import (
	"errors"
	"io/fs"
)

// Content is what a repository has under a digest: a blob, a manifest, or both. With neither it is
// a placeholder for what a sparse manifest links.
type Content struct {
	Digest     string `json:"digest"`
	BlobID     int64  `json:"-"`    // 0 for none
	ManifestID int64  `json:"-"`    // 0 for none
	Size       int64  `json:"size"` // in bytes; -1 in a placeholder whose size no manifest states
}

// Present reports whether the repository has a blob or a manifest: c is no placeholder.
func (c Content) Present() bool { return c.BlobID != 0 || c.ManifestID != 0 }

// Contents returns the contents of the repository under some digests, placeholders too. A damaged
// blob counts as missing, and hidden content is left out.
func (r Repo) Contents(digests []string) (map[string]Content, error) {
	rows, err := r.tx.query(`SELECT c.digest, COALESCE(b.id, 0), COALESCE(c.manifest_id, 0), c.size
		FROM `+r.tx.each(2)+`
		CROSS JOIN repository_contents c ON c.repository_id = $1 AND c.digest = list.value
		LEFT JOIN blobs b ON b.id = c.blob_id AND b.damaged_at IS NULL
		WHERE c.hidden_at IS NULL`, r.id, digests)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Content, len(digests))
	for rows.Next() {
		var c Content
		if err := rows.Scan(&c.Digest, &c.BlobID, &c.ManifestID, &c.Size); err != nil {
			return nil, err
		}
		found[c.Digest] = c
	}
	return found, nil
}

// Content returns the content of the repository under a digest, which may be a placeholder or a
// damaged blob, or fs.ErrNotExist.
func (r Repo) Content(digest string) (Content, error) {
	c := Content{Digest: digest}
	err := r.tx.queryRow(`SELECT COALESCE(blob_id, 0), COALESCE(manifest_id, 0), size
		FROM repository_contents WHERE repository_id = $1 AND digest = $2 AND hidden_at IS NULL`, r.id, digest).
		Scan(&c.BlobID, &c.ManifestID, &c.Size)
	return c, err
}

// AddBlob adds a blob to a repository, which it creates if it is missing. promised is the size that
// a placeholder stated, if it differs from the blob's, else -1.
func (tx *Tx) AddBlob(repo string, b Blob, now int64) (promised int64, err error) {
	tx.markChanged(repo)
	// One statement where the repository is there and the blob is new to it, as in nearly every
	// push.
	n, err := tx.exec(`INSERT INTO repository_contents (repository_id, digest, blob_id, size, touched_at)
		SELECT id, $2, $3, $4, $5 FROM repositories WHERE name = $1 ON CONFLICT (repository_id, digest) DO NOTHING`,
		repo, b.Digest, b.ID, b.Size, now)
	if err != nil || n > 0 {
		return -1, err
	}
	r, err := tx.EnsureRepo(repo)
	if err != nil {
		return -1, err
	}
	return r.addContent(Content{Digest: b.Digest, BlobID: b.ID, Size: b.Size}, now)
}

// AddManifest adds a manifest to a repository; promised is as for AddBlob.
func (r Repo) AddManifest(digest string, manifest, size, now int64) (promised int64, err error) {
	return r.addContent(Content{Digest: digest, ManifestID: manifest, Size: size}, now)
}

func (r Repo) addContent(c Content, now int64) (promised int64, err error) {
	n, err := r.exec(`INSERT INTO repository_contents (repository_id, digest, blob_id, manifest_id, size, touched_at)
		VALUES ($1, $2, NULLIF($3, 0), NULLIF($4, 0), $5, $6) ON CONFLICT (repository_id, digest) DO NOTHING`,
		r.id, c.Digest, c.BlobID, c.ManifestID, c.Size, now)
	if err != nil || n > 0 {
		return -1, err
	}
	promised = -1
	old, err := r.Content(c.Digest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // hidden
		return -1, err
	}
	if err == nil && !old.Present() && old.Size >= 0 && old.Size != c.Size {
		promised = old.Size
	}
	_, err = r.exec(`UPDATE repository_contents SET blob_id = COALESCE(NULLIF($3, 0), blob_id), manifest_id = COALESCE(NULLIF($4, 0), manifest_id),
		size = $5, touched_at = $6, hidden_at = NULL WHERE repository_id = $1 AND digest = $2`,
		r.id, c.Digest, c.BlobID, c.ManifestID, c.Size, now)
	return promised, err
}

// AddPlaceholders adds a placeholder with digest and size of each content, unless the repository
// has a content under the digest, if only a hidden one.
func (r Repo) AddPlaceholders(contents []Content, now int64) error {
	_, err := r.exec(`INSERT INTO repository_contents (repository_id, digest, size, touched_at)
		SELECT $1, digest, size, $3 FROM `+r.tx.each(2, "digest text", "size bigint")+` WHERE true
		ON CONFLICT (repository_id, digest) DO NOTHING`, r.id, contents, now)
	return err
}

// RemoveBlob removes the blob under a digest from a repository. A placeholder stays if a manifest
// links the digest.
func (r Repo) RemoveBlob(digest string) error {
	_, err := r.exec(`UPDATE repository_contents SET blob_id = NULL WHERE repository_id = $1 AND digest = $2`, r.id, digest)
	if err != nil {
		return err
	}
	return r.dropPlaceholders([]string{digest})
}

// dropPlaceholders removes placeholders that no manifest links.
func (r Repo) dropPlaceholders(digests []string) error {
	_, err := r.exec(`DELETE FROM repository_contents
		WHERE repository_id = $1 AND digest IN (SELECT value FROM `+r.tx.each(2)+`)
		AND blob_id IS NULL AND manifest_id IS NULL
		AND NOT EXISTS (SELECT 1 FROM manifest_references f
			WHERE f.repository_id = repository_contents.repository_id AND f.digest = repository_contents.digest)`,
		r.id, digests)
	return err
}

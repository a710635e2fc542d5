package meta

import (
	"errors"
	"io/fs"
)

// Content is what a repository has under a digest. With neither blob nor
// manifest it is what a sparse manifest waits for.
type Content struct {
	Digest     string `json:"digest"`
	BlobID     int64  `json:"-"` // 0 for none
	ManifestID int64  `json:"-"` // 0 for none
	Size       int64  `json:"size"`
}

// Present reports whether the repository has it.
func (c Content) Present() bool { return c.BlobID != 0 || c.ManifestID != 0 }

// Contents returns those of the digests that the repository has or waits for. What
// is hidden or damaged counts as waited for.
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

// Content returns what the repository has or waits for under one digest, or fs.ErrNotExist.
func (r Repo) Content(digest string) (Content, error) {
	c := Content{Digest: digest}
	err := r.tx.queryRow(`SELECT COALESCE(blob_id, 0), COALESCE(manifest_id, 0), size
		FROM repository_contents WHERE repository_id = $1 AND digest = $2 AND hidden_at IS NULL`, r.id, digest).
		Scan(&c.BlobID, &c.ManifestID, &c.Size)
	return c, err
}

// AddBlob gives a blob to a repository, whose row it makes if need be. If a sparse manifest waited
// for the digest with another size, promised is that size, else -1.
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

// AddManifest gives a manifest to a repository; promised is as for AddBlob.
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

// AddPlaceholders makes a place for each content that the repository does not have yet.
func (r Repo) AddPlaceholders(contents []Content, now int64) error {
	_, err := r.exec(`INSERT INTO repository_contents (repository_id, digest, size, touched_at)
		SELECT $1, digest, size, $3 FROM `+r.tx.each(2, "digest text", "size bigint")+` WHERE true
		ON CONFLICT (repository_id, digest) DO NOTHING`, r.id, contents, now)
	return err
}

// RemoveBlob takes the blob under a digest from a repository.
func (r Repo) RemoveBlob(digest string) error {
	_, err := r.exec(`UPDATE repository_contents SET blob_id = NULL WHERE repository_id = $1 AND digest = $2`, r.id, digest)
	if err != nil {
		return err
	}
	return r.dropPlaceholders([]string{digest})
}

// dropPlaceholders removes the places of digests that hold nothing and that no manifest names.
func (r Repo) dropPlaceholders(digests []string) error {
	_, err := r.exec(`DELETE FROM repository_contents
		WHERE repository_id = $1 AND digest IN (SELECT value FROM `+r.tx.each(2)+`)
		AND blob_id IS NULL AND manifest_id IS NULL
		AND NOT EXISTS (SELECT 1 FROM manifest_references f
			WHERE f.repository_id = repository_contents.repository_id AND f.digest = repository_contents.digest)`,
		r.id, digests)
	return err
}

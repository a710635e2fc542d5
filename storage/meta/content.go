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
		CROSS JOIN repository_contents c
		LEFT JOIN blobs b ON b.id = c.blob_id AND b.damaged_at IS NULL
		WHERE c.repository_id = $1 AND c.digest = list.value AND c.hidden_at IS NULL`, r.id, digests)
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
	return tx.addContent(repo, Content{Digest: b.Digest, BlobID: b.ID, Size: b.Size}, now)
}

// AddManifest adds a manifest to a repository; promised is as for AddBlob.
func (r Repo) AddManifest(digest string, manifest, size, now int64) (promised int64, err error) {
	return r.tx.addContent(r.name, Content{Digest: digest, ManifestID: manifest, Size: size}, now)
}

const addContentSQL = `INSERT INTO repository_contents (repository_id, digest, blob_id, manifest_id, size, touched_at)
	SELECT id, $2, $3, $4, $5, $6 FROM repositories WHERE name = $1 ON CONFLICT (repository_id, digest) `

func (tx *Tx) addContent(repo string, c Content, now int64) (promised int64, err error) {
	tx.markChanged(repo)
	args := []any{repo, c.Digest, orNull(c.BlobID), orNull(c.ManifestID), c.Size, now}
	// One statement where the repository is there and the content is new to it, as in nearly every
	// push.
	n, err := tx.exec(addContentSQL+`DO NOTHING`, args...)
	if err != nil || n > 0 {
		return -1, err
	}
	promised, err = tx.promised(repo, c.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		promised, err = -1, tx.createRepo(repo)
	}
	if err != nil {
		return -1, err
	}
	if promised == c.Size {
		promised = -1
	}
	// Not an update: the row may be gone again.
	_, err = tx.exec(addContentSQL+`DO UPDATE SET
		blob_id = COALESCE(excluded.blob_id, repository_contents.blob_id),
		manifest_id = COALESCE(excluded.manifest_id, repository_contents.manifest_id),
		size = excluded.size, touched_at = excluded.touched_at, hidden_at = NULL`, args...)
	return promised, err
}

// promised returns the size that a repository's placeholder states, or -1 if there is no such
// placeholder or it states none. If there is no repository it returns fs.ErrNotExist.
func (tx *Tx) promised(repo, digest string) (size int64, err error) {
	err = tx.queryRow(`SELECT COALESCE(c.size, -1)
		FROM repositories r
		LEFT JOIN repository_contents c ON c.repository_id = r.id AND c.digest = $2
			AND c.blob_id IS NULL AND c.manifest_id IS NULL AND c.hidden_at IS NULL
		WHERE r.name = $1`, repo, digest).Scan(&size)
	return size, err
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

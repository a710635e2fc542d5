package meta

// TagDigest returns the digest that a tag points at, or fs.ErrNotExist.
func (tx *Tx) TagDigest(repository int64, name string) (string, error) {
	var digest string
	err := tx.queryRow(`SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id
		WHERE t.repository_id = $1 AND t.name = $2`, repository, name).Scan(&digest)
	return digest, err
}

// SetTag points a tag at a manifest. The tag's history gets a row unless the tag points there
// already.
func (tx *Tx) SetTag(repository int64, name string, manifest int64, digest, actor string, now int64) error {
	_, err := tx.exec(`INSERT INTO tag_history (repository_id, name, digest, actor, changed_at)
		SELECT $1, $2, $4, $5, $6
		WHERE NOT EXISTS (SELECT 1 FROM tags WHERE repository_id = $1 AND name = $2 AND manifest_id = $3)`,
		repository, name, manifest, digest, actor, now)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at`,
		repository, name, manifest, now)
	return err
}

// DeleteTag removes a tag and notes it in the tag's history. It is false when
// there was none.
func (tx *Tx) DeleteTag(repository int64, name, actor string, now int64) (bool, error) {
	n, err := tx.exec(`DELETE FROM tags WHERE repository_id = $1 AND name = $2`, repository, name)
	if err != nil || n == 0 {
		return false, err
	}
	_, err = tx.exec(`INSERT INTO tag_history (repository_id, name, actor, changed_at) VALUES ($1, $2, $3, $4)`,
		repository, name, actor, now)
	return true, err
}

// DeleteTagsOf removes every tag that points at a manifest.
func (tx *Tx) DeleteTagsOf(manifest int64, actor string, now int64) error {
	_, err := tx.exec(`INSERT INTO tag_history (repository_id, name, actor, changed_at)
		SELECT repository_id, name, $2, $3 FROM tags WHERE manifest_id = $1`, manifest, actor, now)
	if err != nil {
		return err
	}
	_, err = tx.exec(`DELETE FROM tags WHERE manifest_id = $1`, manifest)
	return err
}

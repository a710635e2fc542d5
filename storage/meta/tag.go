package meta

// TagDigest returns the digest that a tag points at, or fs.ErrNotExist.
func (r Repo) TagDigest(name string) (string, error) {
	var digest string
	err := r.tx.queryRow(`SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id
		WHERE t.repository_id = $1 AND t.name = $2`, r.id, name).Scan(&digest)
	return digest, err
}

// SetTag points a tag at a manifest. The tag's history gets a row unless the tag points there
// already.
func (r Repo) SetTag(name string, manifest int64, digest, actor string, now int64) error {
	_, err := r.exec(`INSERT INTO tag_history (repository_id, name, digest, actor, changed_at)
		SELECT $1, $2, $4, $5, $6
		WHERE NOT EXISTS (SELECT 1 FROM tags WHERE repository_id = $1 AND name = $2 AND manifest_id = $3)`,
		r.id, name, manifest, digest, actor, now)
	if err != nil {
		return err
	}
	_, err = r.exec(`INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at`,
		r.id, name, manifest, now)
	return err
}

// DeleteTag removes a tag, adds that to the tag's history, and reports whether there was a tag.
func (r Repo) DeleteTag(name, actor string, now int64) (bool, error) {
	n, err := r.exec(`DELETE FROM tags WHERE repository_id = $1 AND name = $2`, r.id, name)
	if err != nil || n == 0 {
		return false, err
	}
	_, err = r.exec(`INSERT INTO tag_history (repository_id, name, actor, changed_at) VALUES ($1, $2, $3, $4)`,
		r.id, name, actor, now)
	return true, err
}

// DeleteTagsOf removes every tag of the repository that points at a manifest, and adds that to the
// history of each.
func (r Repo) DeleteTagsOf(manifest int64, actor string, now int64) error {
	_, err := r.exec(`INSERT INTO tag_history (repository_id, name, actor, changed_at)
		SELECT repository_id, name, $3, $4 FROM tags WHERE repository_id = $1 AND manifest_id = $2`, r.id, manifest, actor, now)
	if err != nil {
		return err
	}
	_, err = r.exec(`DELETE FROM tags WHERE repository_id = $1 AND manifest_id = $2`, r.id, manifest)
	return err
}

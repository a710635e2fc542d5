package meta

import (
	"context"
	"io/fs"
)

// Blob is a blob as one repository has it.
type Blob struct {
	ID      int64
	Digest  string
	Size    int64
	Damaged bool
	Object  Object // where the blob is one object, else empty
}

// Blob returns a blob that the repository has, or fs.ErrNotExist.
func (d *DB) Blob(ctx context.Context, repo, digest string) (Blob, error) {
	b := Blob{Digest: digest}
	// A second row means that the blob has several objects.
	rows, err := d.query(ctx, `SELECT b.id, b.size, b.damaged_at IS NOT NULL, COALESCE(o.key, ''), COALESCE(o.size, 0)
		FROM repositories r
		JOIN repository_contents c ON c.repository_id = r.id AND c.digest = $2
		JOIN blobs b ON b.id = c.blob_id
		LEFT JOIN objects o ON o.blob_id = b.id
		WHERE r.name = $1 AND c.hidden_at IS NULL LIMIT 2`, repo, digest)
	if err != nil {
		return b, err
	}
	if !rows.Next() {
		return b, fs.ErrNotExist
	}
	if err := rows.Scan(&b.ID, &b.Size, &b.Damaged, &b.Object.Key, &b.Object.Size); err != nil {
		return b, err
	}
	if rows.Next() {
		b.Object = Object{}
	}
	return b, nil
}

// SavedBlob is the row of a blob as SaveBlob made or found it.
type SavedBlob struct {
	ID        int64
	Whole     bool  // it has its bytes already, so that new ones are not needed
	Damaged   bool  // it has some that are not to be trusted
	CheckedAt int64 // when its bytes were last hashed, as they were written or read back
}

// SaveBlob makes the row of a blob, or finds the one of the same digest.
func (tx *Tx) SaveBlob(digest string, size, now int64) (SavedBlob, error) {
	var b SavedBlob
	// What is there stays as it is: the update is for RETURNING, and writes no page.
	err := tx.queryRow(`INSERT INTO blobs (digest, size, checked_at, created_at) VALUES ($1, $2, $3, $3)
		ON CONFLICT (digest) DO UPDATE SET checked_at = blobs.checked_at
		RETURNING id, damaged_at IS NULL AND EXISTS (SELECT 1 FROM objects o WHERE o.blob_id = blobs.id), damaged_at IS NOT NULL, checked_at`,
		digest, size, now).Scan(&b.ID, &b.Whole, &b.Damaged, &b.CheckedAt)
	return b, err
}

// RecordBlobChecked records that the blob's stored bytes were read and are those of its digest, unless the
// object is no longer the blob's.
func (tx *Tx) RecordBlobChecked(id int64, key string, now int64) error {
	_, err := tx.exec(`UPDATE blobs SET checked_at = $3
		WHERE id = $1 AND EXISTS (SELECT 1 FROM objects o WHERE o.key = $2 AND o.blob_id = $1)`, id, key, now)
	return err
}

// RecordBlobHealed records that the blob has got bytes that were hashed as they were written.
func (tx *Tx) RecordBlobHealed(id, now int64) error {
	tx.markChanged(everyRepository)
	_, err := tx.exec(`UPDATE blobs SET damaged_at = NULL, checked_at = $2 WHERE id = $1`, id, now)
	return err
}

// RecordBlobDamaged records that an object of the blob is gone or wrong, unless the object
// is no longer the blob's.
func (tx *Tx) RecordBlobDamaged(id int64, key string, now int64) (bool, error) {
	n, err := tx.exec(`UPDATE blobs SET damaged_at = $3
		WHERE id = $1 AND damaged_at IS NULL AND EXISTS (SELECT 1 FROM objects o WHERE o.key = $2 AND o.blob_id = $1)`, id, key, now)
	tx.markChanged(everyRepository)
	return n > 0, err
}

// BlobIn returns a blob if the repository has it whole, else fs.ErrNotExist.
func (tx *Tx) BlobIn(repo, digest string) (Blob, error) {
	b := Blob{Digest: digest}
	err := tx.queryRow(`SELECT b.id, b.size
		FROM repositories r
		JOIN repository_contents c ON c.repository_id = r.id AND c.digest = $2
		JOIN blobs b ON b.id = c.blob_id
		WHERE r.name = $1 AND c.hidden_at IS NULL AND b.damaged_at IS NULL`, repo, digest).Scan(&b.ID, &b.Size)
	return b, err
}

// BlobRepositories returns the names of at most n repositories that have a blob whole, in the order
// of their ids.
func (d *DB) BlobRepositories(ctx context.Context, digest string, n int) ([]string, error) {
	return scanNames(d.query(ctx, `SELECT r.name
		FROM blobs b
		JOIN repository_contents c ON c.blob_id = b.id
		JOIN repositories r ON r.id = c.repository_id
		WHERE b.digest = $1 AND b.damaged_at IS NULL AND c.hidden_at IS NULL
		ORDER BY c.repository_id LIMIT $2`, digest, n))
}

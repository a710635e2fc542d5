package meta

import (
	"context"
	"errors"
	"io/fs"
)

// Blob is a blob as one repository has it.
type Blob struct {
	ID      int64
	Digest  string
	Size    int64
	Damaged bool
	Object  Object // empty unless the blob has exactly one object
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

// SavedBlob is the row that SaveBlob inserted or found.
type SavedBlob struct {
	ID        int64
	Whole     bool  // the blob has objects and is not damaged: it needs no new bytes
	Damaged   bool  // stored bytes of the blob are gone or wrong
	CheckedAt int64 // when its bytes were last hashed, while they were written or read back
}

// SaveBlob inserts a blob, unless there is one with its digest, and returns the row. A row that is
// there stays as it is. The row is the transaction's alone unless the blob is whole, so that only
// one transaction gives it objects.
func (tx *Tx) SaveBlob(digest string, size, now int64) (SavedBlob, error) {
	b := SavedBlob{CheckedAt: now}
	// This waits for a transaction that inserts the same blob, and for no other.
	err := tx.queryRow(`INSERT INTO blobs (digest, size, checked_at, created_at) VALUES ($1, $2, $3, $3)
		ON CONFLICT (digest) DO NOTHING RETURNING id`, digest, size, now).Scan(&b.ID)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	// Another statement, which sees what the other transaction has committed.
	if b, err = tx.savedBlob(digest, lockShared); err != nil || b.Whole {
		return b, err
	}
	if err := tx.lockBlob(b.ID); err != nil {
		return b, err
	}
	return tx.savedBlob(digest, lockForChange)
}

// savedBlob returns the row of a blob, which it locks.
func (tx *Tx) savedBlob(digest, lock string) (b SavedBlob, err error) {
	err = tx.queryRow(`SELECT id, damaged_at IS NULL AND EXISTS (SELECT 1 FROM objects o WHERE o.blob_id = blobs.id),
			damaged_at IS NOT NULL, checked_at
		FROM blobs WHERE digest = $1`+tx.lock(lock), digest).Scan(&b.ID, &b.Whole, &b.Damaged, &b.CheckedAt)
	return b, err
}

// lockBlob locks the row of a blob. The objects of the blob are read by a later statement.
func (tx *Tx) lockBlob(id int64) error {
	clause := tx.lock(lockForChange)
	if clause == "" {
		return nil
	}
	_, err := tx.exec(`SELECT 1 FROM blobs WHERE id = $1`+clause, id)
	return err
}

// RecordBlobChecked records that the blob's stored bytes were read and are those of its digest. It
// changes nothing if the object is no longer the blob's.
func (tx *Tx) RecordBlobChecked(id int64, key string, now int64) error {
	if err := tx.lockBlob(id); err != nil {
		return err
	}
	_, err := tx.exec(`UPDATE blobs SET checked_at = $3
		WHERE id = $1 AND EXISTS (SELECT 1 FROM objects o WHERE o.key = $2 AND o.blob_id = $1)`, id, key, now)
	return err
}

// RecordBlobHealed records that the blob has new bytes, which were hashed while they were written.
// It marks all repositories as changed.
func (tx *Tx) RecordBlobHealed(id, now int64) error {
	tx.markChanged(everyRepository)
	_, err := tx.exec(`UPDATE blobs SET damaged_at = NULL, checked_at = $2 WHERE id = $1`, id, now)
	return err
}

// RecordBlobDamaged records that an object of the blob is gone or wrong, and reports whether that
// is new: it changes nothing if the blob is damaged already, or the object is no longer the blob's.
// It marks all repositories as changed.
func (tx *Tx) RecordBlobDamaged(id int64, key string, now int64) (bool, error) {
	if err := tx.lockBlob(id); err != nil {
		return false, err
	}
	n, err := tx.exec(`UPDATE blobs SET damaged_at = $3
		WHERE id = $1 AND damaged_at IS NULL AND EXISTS (SELECT 1 FROM objects o WHERE o.key = $2 AND o.blob_id = $1)`, id, key, now)
	tx.markChanged(everyRepository)
	return n > 0, err
}

// BlobIn returns a blob that the repository has and that is not damaged, without its objects, or
// fs.ErrNotExist.
func (tx *Tx) BlobIn(repo, digest string) (Blob, error) {
	b := Blob{Digest: digest}
	err := tx.queryRow(`SELECT b.id, b.size
		FROM repositories r
		JOIN repository_contents c ON c.repository_id = r.id AND c.digest = $2
		JOIN blobs b ON b.id = c.blob_id
		WHERE r.name = $1 AND c.hidden_at IS NULL AND b.damaged_at IS NULL`, repo, digest).Scan(&b.ID, &b.Size)
	return b, err
}

// BlobRepositories returns the names of at most n repositories that have a blob, in the order of
// their ids. A damaged blob has none.
func (d *DB) BlobRepositories(ctx context.Context, digest string, n int) ([]string, error) {
	return scanNames(d.query(ctx, `SELECT r.name
		FROM blobs b
		JOIN repository_contents c ON c.blob_id = b.id
		JOIN repositories r ON r.id = c.repository_id
		WHERE b.digest = $1 AND b.damaged_at IS NULL AND c.hidden_at IS NULL
		ORDER BY c.repository_id LIMIT $2`, digest, n))
}

package meta

import (
	"context"

	"github.com/berth-registry/berth/internal/db"
)

// Upload is the row of an upload session. HashState is that of the bytes
// recorded, and nil before the first.
type Upload struct {
	ID             string
	Repository     string
	Owner          string
	Charged        string // the caller that it counts for
	Algorithm      string
	Size           int64
	HashState      []byte
	NextPart       int64
	FinishedDigest string // "" while the session is open
	UpdatedAt      int64
}

// CreateUploads makes the rows of upload sessions that are like u but for their ids.
func (tx *Tx) CreateUploads(u Upload, ids []string) error {
	_, err := tx.exec(`INSERT INTO uploads (id, repository, owner, charged, algorithm, size, next_part, created_at, updated_at)
		SELECT value, $2, $3, $4, $5, 0, $6, $7, $7 FROM `+tx.each(1),
		ids, u.Repository, u.Owner, u.Charged, u.Algorithm, u.NextPart, u.UpdatedAt)
	return err
}

// RemoveUnusedUploads removes sessions that were not used, with the rows of the keys that they
// reserved. It fails if one has a recorded object.
func (tx *Tx) RemoveUnusedUploads(ids []string) error {
	if _, err := tx.exec(`DELETE FROM objects WHERE size IS NULL AND upload_id IN (SELECT value FROM `+tx.each(1)+`)`, ids); err != nil {
		return err
	}
	_, err := tx.exec(`DELETE FROM uploads WHERE id IN (SELECT value FROM `+tx.each(1)+`)`, ids)
	return err
}

// Upload returns a session of the repository, also a finished one, or fs.ErrNotExist.
func (d *DB) Upload(ctx context.Context, repo, id string) (Upload, error) {
	return scanUpload(d.queryRow(ctx, uploadSQL, id, repo), repo, id)
}

// Upload is DB.Upload inside the transaction.
func (tx *Tx) Upload(repo, id string) (Upload, error) {
	return scanUpload(tx.queryRow(uploadSQL, id, repo), repo, id)
}

const uploadSQL = `SELECT owner, charged, algorithm, size, hash_state, next_part, COALESCE(finished_digest, ''), updated_at
	FROM uploads WHERE id = $1 AND repository = $2`

func scanUpload(row db.Row, repo, id string) (Upload, error) {
	u := Upload{ID: id, Repository: repo}
	err := row.Scan(&u.Owner, &u.Charged, &u.Algorithm, &u.Size, &u.HashState, &u.NextPart, &u.FinishedDigest, &u.UpdatedAt)
	return u, err
}

// BeginPart takes the number of the next part of an open session, which is NextPart-1 of the row
// that it returns. It is fs.ErrNotExist where the repository has no such session, or it is
// finished.
func (tx *Tx) BeginPart(repo, id string, now int64) (Upload, error) {
	u := Upload{ID: id, Repository: repo, UpdatedAt: now}
	err := tx.queryRow(`UPDATE uploads SET next_part = next_part + 1, updated_at = $3
		WHERE id = $1 AND finished_digest IS NULL AND repository = $2
		RETURNING owner, charged, algorithm, size, hash_state, next_part`, id, repo, now).
		Scan(&u.Owner, &u.Charged, &u.Algorithm, &u.Size, &u.HashState, &u.NextPart)
	return u, err
}

// AdvanceUpload records that an open session grew from one size to another. It is
// false when the session ended or another request advanced it first.
func (tx *Tx) AdvanceUpload(id, algorithm string, from, to int64, hashState []byte, now int64) (bool, error) {
	n, err := tx.exec(`UPDATE uploads SET size = $3, hash_state = $4, algorithm = $5, updated_at = $6
		WHERE id = $1 AND size = $2 AND finished_digest IS NULL`, id, from, to, hashState, algorithm, now)
	return n > 0, err
}

// FinishUpload ends an open session of this size with a digest. It is false when the session ended
// or another request changed it first.
func (tx *Tx) FinishUpload(id string, size int64, digest string) (bool, error) {
	n, err := tx.exec(`UPDATE uploads SET finished_digest = $3, hash_state = NULL
		WHERE id = $1 AND size = $2 AND finished_digest IS NULL`, id, size, digest)
	return n > 0, err
}

// TouchUpload records that a session was used.
func (tx *Tx) TouchUpload(id string, now int64) error {
	_, err := tx.exec(`UPDATE uploads SET updated_at = $2 WHERE id = $1`, id, now)
	return err
}

// DeleteUpload removes the row of a session that owns no object any more. It is
// false when there was none.
func (tx *Tx) DeleteUpload(id string) (bool, error) {
	n, err := tx.exec(`DELETE FROM uploads WHERE id = $1`, id)
	return n > 0, err
}

// IdleUploads returns at most n sessions that are open and untouched since openBefore, or
// finished since before finishedBefore, which must not be earlier.
func (d *DB) IdleUploads(ctx context.Context, openBefore, finishedBefore int64, n int) ([]string, error) {
	return scanNames(d.query(ctx, `SELECT id FROM uploads
		WHERE updated_at < $2 AND (finished_digest IS NOT NULL OR updated_at < $1)
		ORDER BY updated_at LIMIT $3`, openBefore, finishedBefore, n))
}

// ExpireUpload ends a session if it is still idle.
func (tx *Tx) ExpireUpload(id string, openBefore, finishedBefore int64, now int64) error {
	n, err := tx.exec(`UPDATE uploads SET updated_at = updated_at
		WHERE id = $1 AND updated_at < $3 AND (finished_digest IS NOT NULL OR updated_at < $2)`, id, openBefore, finishedBefore)
	if err != nil || n == 0 {
		return err
	}
	if err := tx.ReleaseUpload(id, now); err != nil {
		return err
	}
	_, err = tx.DeleteUpload(id)
	return err
}

// Usage is what one caller has in progress: see Upload.Charged.
type Usage struct {
	Sessions int64 // upload sessions that are open
	Bytes    int64 // recorded in them, and allowed to requests that run
	Requests int64 // that run and have an allowance, if only of 0 bytes
}

// partBytes is what each part of an upload counts for beside its bytes, for its file: as many bytes
// as file systems have for each inode.
const partBytes = 16 << 10

const usageSQL = `SELECT COUNT(*), COALESCE(SUM(size + next_part * $3), 0)
			+ (SELECT COALESCE(SUM(claimed), 0) FROM objects WHERE charged = $1 AND writer_until > $2),
		(SELECT COUNT(*) FROM objects WHERE charged = $1 AND writer_until > $2)
	FROM uploads WHERE charged = $1 AND finished_digest IS NULL`

// Usage returns the usage of a caller.
func (tx *Tx) Usage(charged string, now int64) (u Usage, err error) {
	err = tx.queryRow(usageSQL, charged, now, partBytes).Scan(&u.Sessions, &u.Bytes, &u.Requests)
	return u, err
}

// CountOpenUploads counts the sessions that are open.
func (d *DB) CountOpenUploads(ctx context.Context) (int64, error) {
	var n int64
	err := d.queryRow(ctx, `SELECT COUNT(*) FROM uploads WHERE finished_digest IS NULL`).Scan(&n)
	return n, err
}

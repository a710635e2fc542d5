package meta

import (
	"context"

	"github.com/berth-registry/berth/internal/db"
)

// Upload is the row of an upload session.
type Upload struct {
	ID             string
	Repository     string
	Owner          string
	Charged        string // the caller against whose limits it counts
	Algorithm      string // of the digest
	Size           int64  // of the recorded parts
	HashState      []byte // after the recorded parts; nil before the first
	NextPart       int64  // its number; parts are numbered from 0 on
	FinishedDigest string // "" while the session is open
	UpdatedAt      int64  // when it was last used
}

// CreateUpload inserts an open session without bytes.
func (tx *Tx) CreateUpload(u Upload) error {
	_, err := tx.exec(`INSERT INTO uploads (id, repository, owner, charged, algorithm, size, next_part, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $7)`,
		u.ID, u.Repository, u.Owner, u.Charged, u.Algorithm, u.NextPart, u.UpdatedAt)
	return err
}

// Upload returns a session of the repository, open or finished, or fs.ErrNotExist.
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

// BeginPart takes the number of the next part of an open session: NextPart-1 of the row that it
// returns. It returns fs.ErrNotExist if the repository has no such session, or the session is
// finished.
func (tx *Tx) BeginPart(repo, id string, now int64) (Upload, error) {
	u := Upload{ID: id, Repository: repo, UpdatedAt: now}
	err := tx.queryRow(`UPDATE uploads SET next_part = next_part + 1, updated_at = $3
		WHERE id = $1 AND finished_digest IS NULL AND repository = $2
		RETURNING owner, charged, algorithm, size, hash_state, next_part`, id, repo, now).
		Scan(&u.Owner, &u.Charged, &u.Algorithm, &u.Size, &u.HashState, &u.NextPart)
	return u, err
}

// AdvanceUpload sets the size and the hash state of an open session whose size is from. It reports
// whether it did: it changes nothing if the session has ended, or another request advanced it
// first.
func (tx *Tx) AdvanceUpload(id, algorithm string, from, to int64, hashState []byte, now int64) (bool, error) {
	n, err := tx.exec(`UPDATE uploads SET size = $3, hash_state = $4, algorithm = $5, updated_at = $6
		WHERE id = $1 AND size = $2 AND finished_digest IS NULL`, id, from, to, hashState, algorithm, now)
	return n > 0, err
}

// FinishUpload makes an open session of this size a finished one, whose blob has the digest. It
// reports whether it did: it changes nothing if the session has ended, or another request changed
// it first.
func (tx *Tx) FinishUpload(id string, size int64, digest string) (bool, error) {
	n, err := tx.exec(`UPDATE uploads SET finished_digest = $3, hash_state = NULL
		WHERE id = $1 AND size = $2 AND finished_digest IS NULL`, id, size, digest)
	return n > 0, err
}

// TouchUpload records that a session was used now.
func (tx *Tx) TouchUpload(id string, now int64) error {
	_, err := tx.exec(`UPDATE uploads SET updated_at = $2 WHERE id = $1`, id, now)
	return err
}

// DeleteUpload removes the row of a session and reports whether there was one. The session must own
// no objects.
func (tx *Tx) DeleteUpload(id string) (bool, error) {
	n, err := tx.exec(`DELETE FROM uploads WHERE id = $1`, id)
	return n > 0, err
}

// IdleUploads returns the ids of at most n idle sessions, the longest idle first. An open session
// is idle if it was last used before openBefore, a finished one if before finishedBefore, which
// must not be the earlier of the two.
func (d *DB) IdleUploads(ctx context.Context, openBefore, finishedBefore int64, n int) ([]string, error) {
	return scanNames(d.query(ctx, `SELECT id FROM uploads
		WHERE updated_at < $2 AND (finished_digest IS NOT NULL OR updated_at < $1)
		ORDER BY updated_at LIMIT $3`, openBefore, finishedBefore, n))
}

// ExpireUpload removes a session that is still idle, as IdleUploads defines it. Its objects become
// the deletion worker's: see ReleaseUpload.
func (tx *Tx) ExpireUpload(id string, openBefore, finishedBefore int64, now int64) error {
	// The update changes nothing. It counts the row if the session is still idle.
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

// Usage is what counts against the limits of one caller: see Upload.Charged.
type Usage struct {
	Sessions int64 // open upload sessions
	Bytes    int64 // recorded in these, partBytes for each part, and the allowances of requests
	Requests int64 // running requests with an allowance, which may be 0 bytes
}

// partBytes is the number of bytes that each part counts for beside its own, because it is a file:
// file systems have about one inode for so many bytes.
const partBytes = 16 << 10

const usageSQL = `SELECT COUNT(*), COALESCE(SUM(size + next_part * $3), 0)
			+ (SELECT COALESCE(SUM(claimed), 0) FROM objects WHERE charged = $1 AND writer_until > $2),
		(SELECT COUNT(*) FROM objects WHERE charged = $1 AND writer_until > $2)
	FROM uploads WHERE charged = $1 AND finished_digest IS NULL`

// Usage returns the usage of a caller. A request runs until the lease of its object ends.
func (tx *Tx) Usage(charged string, now int64) (u Usage, err error) {
	err = tx.queryRow(usageSQL, charged, now, partBytes).Scan(&u.Sessions, &u.Bytes, &u.Requests)
	return u, err
}

// CountOpenUploads returns the number of open sessions.
func (d *DB) CountOpenUploads(ctx context.Context) (int64, error) {
	var n int64
	err := d.queryRow(ctx, `SELECT COUNT(*) FROM uploads WHERE finished_digest IS NULL`).Scan(&n)
	return n, err
}

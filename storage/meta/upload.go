package meta

import (
	"context"
	"io/fs"

	"github.com/berth-registry/berth/internal/db"
)

// Upload is the row of an upload session. A spare one was made in advance and belongs to no caller
// yet: Repository, Owner, Charged and Algorithm are empty.
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

// CreateSpareUploads inserts spare sessions, each with the object that its first bytes may go to.
// keys has the id of each session by the key of its object, which is not deleted before
// writerUntil.
func (tx *Tx) CreateSpareUploads(keys map[string]string, now, writerUntil int64) error {
	type session struct {
		ID  string `json:"id"`
		Key string `json:"key"`
	}
	sessions := make([]session, 0, len(keys))
	for key, id := range keys {
		sessions = append(sessions, session{id, key})
	}
	if _, err := tx.exec(`INSERT INTO uploads (id, repository, owner, charged, algorithm, size, next_part, created_at, updated_at)
		SELECT id, '', '', '', '', 0, 1, $2, $2 FROM `+tx.each(1, "id text"), sessions, now); err != nil {
		return err
	}
	_, err := tx.exec(`INSERT INTO objects (key, upload_id, seq, writer_until)
		SELECT key, id, 0, $2 FROM `+tx.each(1, "id text", "key text"), sessions, writerUntil)
	return err
}

// AssignUploads gives spare sessions to callers. It changes no session that is not spare.
func (tx *Tx) AssignUploads(uploads []Upload) error {
	type session struct {
		ID         string `json:"id"`
		Repository string `json:"repository"`
		Owner      string `json:"owner"`
		Charged    string `json:"charged"`
		Algorithm  string `json:"algorithm"`
	}
	sessions := make([]session, len(uploads))
	for i, u := range uploads {
		sessions[i] = session{u.ID, u.Repository, u.Owner, u.Charged, u.Algorithm}
	}
	_, err := tx.exec(`UPDATE uploads SET repository = list.repository, owner = list.owner, charged = list.charged, algorithm = list.algorithm
		FROM `+tx.each(1, "id text", "repository text", "owner text", "charged text", "algorithm text")+`
		WHERE uploads.id = list.id AND uploads.repository = ''`, sessions)
	return err
}

// RemoveSpareUploads removes those of the sessions that are spare, with the rows of their objects.
func (tx *Tx) RemoveSpareUploads(ids []string) error {
	if _, err := tx.exec(`DELETE FROM objects WHERE upload_id IN (SELECT id FROM uploads
		WHERE repository = '' AND id IN (SELECT value FROM `+tx.each(1)+`))`, ids); err != nil {
		return err
	}
	_, err := tx.exec(`DELETE FROM uploads WHERE repository = '' AND id IN (SELECT value FROM `+tx.each(1)+`)`, ids)
	return err
}

// Upload returns a session of the repository, open or finished, or a spare one, or fs.ErrNotExist.
func (d *DB) Upload(ctx context.Context, repo, id string) (Upload, error) {
	if !db.Storable(id) {
		return Upload{}, fs.ErrNotExist
	}
	return scanUpload(d.queryRow(ctx, uploadSQL, id, repo), id)
}

// Upload is DB.Upload inside the transaction. No other one changes the session until this one ends.
func (tx *Tx) Upload(repo, id string) (Upload, error) {
	return scanUpload(tx.queryRow(uploadSQL+tx.lock(lockForChange), id, repo), id)
}

const uploadSQL = `SELECT repository, owner, charged, algorithm, size, hash_state, next_part, COALESCE(finished_digest, ''), updated_at
	FROM uploads WHERE id = $1 AND repository IN ($2, '')`

func scanUpload(row db.Row, id string) (Upload, error) {
	u := Upload{ID: id}
	err := row.Scan(&u.Repository, &u.Owner, &u.Charged, &u.Algorithm, &u.Size,
		&u.HashState, &u.NextPart, &u.FinishedDigest, &u.UpdatedAt)
	return u, err
}

// BeginPart takes the number of the next part of u, an open session: NextPart-1 of the row that it
// returns. A spare session becomes that of u's owner. It returns fs.ErrNotExist if u's repository
// has no such session, or the session is finished.
func (tx *Tx) BeginPart(u Upload, now int64) (Upload, error) {
	if !db.Storable(u.ID) {
		return u, fs.ErrNotExist
	}
	err := tx.queryRow(`UPDATE uploads SET next_part = next_part + 1, updated_at = $3, repository = $2,
			owner = CASE repository WHEN '' THEN $4 ELSE owner END,
			charged = CASE repository WHEN '' THEN $5 ELSE charged END,
			algorithm = CASE repository WHEN '' THEN $6 ELSE algorithm END
		WHERE id = $1 AND finished_digest IS NULL AND repository IN ($2, '')
		RETURNING owner, charged, algorithm, size, hash_state, next_part`,
		u.ID, u.Repository, now, u.Owner, u.Charged, u.Algorithm).
		Scan(&u.Owner, &u.Charged, &u.Algorithm, &u.Size, &u.HashState, &u.NextPart)
	u.UpdatedAt = now
	return u, err
}

// AdvanceUpload sets the size and the hash state of u, an open session whose row has u's size, and
// whose it is. It reports whether it did: it changes nothing if the session has ended, or another
// request advanced it first.
func (tx *Tx) AdvanceUpload(u Upload, size int64, hashState []byte, now int64) (bool, error) {
	n, err := tx.exec(`UPDATE uploads SET size = $3, hash_state = $4, algorithm = $5, updated_at = $6,
			repository = $7, owner = $8, charged = $9
		WHERE id = $1 AND size = $2 AND finished_digest IS NULL`,
		u.ID, u.Size, size, hashState, u.Algorithm, now, u.Repository, u.Owner, u.Charged)
	return n > 0, err
}

// FinishUpload makes u, an open session whose row has u's size, a finished one, whose blob has the
// digest, and sets whose it is. It reports whether it did: it changes nothing if the session has
// ended, or another request changed it first.
func (tx *Tx) FinishUpload(u Upload, digest string) (bool, error) {
	n, err := tx.exec(`UPDATE uploads SET finished_digest = $3, hash_state = NULL, repository = $4, owner = $5
		WHERE id = $1 AND size = $2 AND finished_digest IS NULL`, u.ID, u.Size, digest, u.Repository, u.Owner)
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

// ExpireUploads removes those of the sessions that are still idle, as IdleUploads defines it, and
// that no other transaction is changing. It returns their number. Their objects become the deletion
// worker's: see ReleaseUpload.
func (tx *Tx) ExpireUploads(ids []string, openBefore, finishedBefore int64, now int64) (int64, error) {
	idle, err := scanNames(tx.query(`SELECT id FROM uploads WHERE id IN (SELECT value FROM `+tx.each(1)+`)
		AND updated_at < $3 AND (finished_digest IS NOT NULL OR updated_at < $2)`+tx.lock(lockFree),
		ids, openBefore, finishedBefore))
	if err != nil || len(idle) == 0 {
		return 0, err
	}
	if err := tx.releaseUploads(idle, now); err != nil {
		return 0, err
	}
	return tx.exec(`DELETE FROM uploads WHERE id IN (SELECT value FROM `+tx.each(1)+`)`, idle)
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

const usageSQL = `SELECT COUNT(*), CAST(COALESCE(SUM(size + next_part * $3), 0)
			+ (SELECT COALESCE(SUM(claimed), 0) FROM objects WHERE charged = $1 AND writer_until > $2) AS BIGINT),
		(SELECT COUNT(*) FROM objects WHERE charged = $1 AND writer_until > $2)
	FROM uploads WHERE charged = $1 AND finished_digest IS NULL`

// Usage is Tx.Usage outside of a transaction.
func (d *DB) Usage(ctx context.Context, charged string, now int64) (u Usage, err error) {
	err = d.queryRow(ctx, usageSQL, charged, now, partBytes).Scan(&u.Sessions, &u.Bytes, &u.Requests)
	return u, err
}

// Usage returns the usage of a caller. A request runs until the lease of its object ends.
func (tx *Tx) Usage(charged string, now int64) (u Usage, err error) {
	err = tx.queryRow(usageSQL, charged, now, partBytes).Scan(&u.Sessions, &u.Bytes, &u.Requests)
	return u, err
}

// CountOpenUploads returns the number of open sessions that are not spare.
func (d *DB) CountOpenUploads(ctx context.Context) (int64, error) {
	var n int64
	err := d.queryRow(ctx, `SELECT COUNT(*) FROM uploads WHERE finished_digest IS NULL AND repository <> ''`).Scan(&n)
	return n, err
}

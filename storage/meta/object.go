package meta

import (
	"context"
	"io/fs"

	"github.com/berth-registry/berth/internal/db"
)

// Object is an object of the bucket: a part of a blob or of an upload, or one to be deleted.
type Object struct {
	Key  string
	Size int64
}

// Allowance is the number of bytes that a request may receive, and the caller against whose limits
// they count. The zero value counts against none.
type Allowance struct {
	Charged string
	Bytes   int64
}

// ReserveObject inserts the object that a request to an upload is about to write, with the number
// seq among the upload's. Until leaseEnd the object is not deleted, and the allowance counts.
func (tx *Tx) ReserveObject(key, upload string, seq, leaseEnd int64, a Allowance) error {
	_, err := tx.exec(`INSERT INTO objects (key, upload_id, seq, writer_until, charged, claimed)
		VALUES ($1, $2, $3, $4, NULLIF($5, ''), $6)`, key, upload, seq, leaseEnd, a.Charged, a.Bytes)
	return err
}

// Allowed returns the number of bytes that the request may receive that writes an upload's object,
// or fs.ErrNotExist if the object is no longer the upload's.
func (tx *Tx) Allowed(key, upload string) (bytes int64, err error) {
	err = tx.queryRow(`SELECT COALESCE(claimed, 0) FROM objects WHERE key = $1 AND upload_id = $2`, key, upload).Scan(&bytes)
	return bytes, err
}

// SetAllowance changes the allowance of the request that writes an object.
func (tx *Tx) SetAllowance(key string, a Allowance) error {
	_, err := tx.exec(`UPDATE objects SET charged = $2, claimed = $3 WHERE key = $1`, key, a.Charged, a.Bytes)
	return err
}

// RenewLease extends the lease of an object that is being written, and records that its upload was
// used now. It returns fs.ErrNotExist if the object is no longer the upload's.
func (tx *Tx) RenewLease(key, upload string, leaseEnd, now int64) error {
	n, err := tx.exec(`UPDATE uploads SET updated_at = $3
		WHERE id = $2 AND EXISTS (SELECT 1 FROM objects o WHERE o.key = $1 AND o.upload_id = $2)`, key, upload, now)
	if err == nil && n > 0 {
		n, err = tx.exec(`UPDATE objects SET writer_until = $3 WHERE key = $1 AND upload_id = $2`, key, upload, leaseEnd)
	}
	if err == nil && n == 0 {
		err = fs.ErrNotExist
	}
	return err
}

// RecordObject sets the size of an upload's object, which is complete. The lease and the allowance
// end.
func (tx *Tx) RecordObject(key string, size int64) error {
	_, err := tx.exec(`UPDATE objects SET size = $2, writer_until = NULL, charged = NULL, claimed = NULL WHERE key = $1`, key, size)
	return err
}

// ReleaseObject gives an object that its writer abandons to the deletion worker, and ends the
// lease: the write has ended. An object whose row is gone, because its writer was late and the
// worker has deleted it already, gets a row again. A blob's object stays the blob's. An empty key
// stands for no object.
func (tx *Tx) ReleaseObject(key string, after int64) error {
	if key == "" {
		return nil
	}
	_, err := tx.exec(`INSERT INTO objects (key, seq, delete_after) VALUES ($1, 0, $2)
		ON CONFLICT (key) DO UPDATE SET upload_id = NULL, writer_until = NULL, charged = NULL, claimed = NULL,
			delete_after = excluded.delete_after
		WHERE objects.upload_id IS NOT NULL OR objects.writer_until IS NOT NULL`, key, after)
	return err
}

// ReleaseUpload gives all objects of an upload to the deletion worker. An object that is being
// written is not deleted before its lease ends. Until then its allowance counts, because its writer
// may still receive bytes.
func (tx *Tx) ReleaseUpload(upload string, now int64) error {
	return tx.releaseUploads([]string{upload}, now)
}

func (tx *Tx) releaseUploads(ids []string, now int64) error {
	_, err := tx.exec(`UPDATE objects SET upload_id = NULL,
			delete_after = CASE WHEN writer_until > $2 THEN writer_until ELSE $2 END
		WHERE upload_id IN (SELECT value FROM `+tx.each(1)+`)`, ids, now)
	return err
}

// ReleaseUnrecorded gives the objects of all uploads that are not recorded to the deletion worker,
// and ends their leases and allowances. It returns their number. It is for the start of the only
// process that serves the database, when no writer is left.
func (tx *Tx) ReleaseUnrecorded(now int64) (int64, error) {
	return tx.exec(`UPDATE objects SET upload_id = NULL, writer_until = NULL, charged = NULL, claimed = NULL, delete_after = $1
		WHERE upload_id IS NOT NULL AND size IS NULL`, now)
}

// ReleaseBlob gives all objects of a blob to the deletion worker.
func (tx *Tx) ReleaseBlob(blob, after int64) error {
	tx.markChanged(everyRepository)
	_, err := tx.exec(`UPDATE objects SET blob_id = NULL, delete_after = $2 WHERE blob_id = $1`, blob, after)
	return err
}

// GiveToBlob makes the recorded objects of an upload a blob's. If key is not empty, the upload's
// object of that key, which is not recorded yet and has size bytes, becomes the blob's too. It
// returns the number of these objects.
func (tx *Tx) GiveToBlob(upload, key string, size, blob int64) (int64, error) {
	return tx.exec(`UPDATE objects SET upload_id = NULL, blob_id = $4, writer_until = NULL, charged = NULL, claimed = NULL, size = COALESCE(size, $3)
		WHERE upload_id = $1 AND (size IS NOT NULL OR key = $2)`, upload, key, size, blob)
}

// SumObjects returns the number of bytes in the objects of a blob.
func (tx *Tx) SumObjects(blob int64) (size int64, err error) {
	err = tx.queryRow(`SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM objects WHERE blob_id = $1`, blob).Scan(&size)
	return size, err
}

// BlobObjects returns the objects of a blob in the order of its bytes.
func (d *DB) BlobObjects(ctx context.Context, blob int64) ([]Object, error) {
	return scanObjects(d.query(ctx, `SELECT key, size FROM objects WHERE blob_id = $1 ORDER BY seq`, blob))
}

// Mark is a place in a blob: the object with the number Seq begins at the byte Start.
type Mark struct{ Seq, Start int64 }

// BlobMarks returns the key of the first object of a blob, and a mark for every n-th object from
// the first on, in the order of the bytes. It reads the rows of all objects.
func (d *DB) BlobMarks(ctx context.Context, blob int64, n int) (first string, marks []Mark, err error) {
	rows, err := d.query(ctx, `SELECT key, seq, start FROM (
			SELECT key, seq, CAST(SUM(size) OVER parts AS BIGINT) - size AS start, ROW_NUMBER() OVER parts AS number
			FROM objects WHERE blob_id = $1 WINDOW parts AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)) AS numbered
		WHERE (number - 1) % $2 = 0 ORDER BY seq`, blob, n)
	if err != nil {
		return "", nil, err
	}
	for rows.Next() {
		var key string
		var m Mark
		if err := rows.Scan(&key, &m.Seq, &m.Start); err != nil {
			return "", nil, err
		}
		if first == "" {
			first = key
		}
		marks = append(marks, m)
	}
	return first, marks, nil
}

// BlobObjectsFrom returns at most n objects of a blob, from the one with the number seq on, in the
// order of its bytes. first is the key of any object that the caller knows to be the blob's. If it
// is no longer, the blob has got new objects, and the result is empty.
func (d *DB) BlobObjectsFrom(ctx context.Context, blob int64, first string, seq int64, n int) ([]Object, error) {
	return scanObjects(d.query(ctx, blobObjectsFromSQL, blob, first, seq, n))
}

const blobObjectsFromSQL = `SELECT key, size FROM objects
	WHERE blob_id = $1 AND seq >= $3 AND EXISTS (SELECT 1 FROM objects WHERE key = $2 AND blob_id = $1)
	ORDER BY seq LIMIT $4`

// UploadObjects returns the recorded objects of an upload in the order of its bytes.
func (d *DB) UploadObjects(ctx context.Context, upload string) ([]Object, error) {
	return scanObjects(d.query(ctx, `SELECT key, size FROM objects WHERE upload_id = $1 AND size IS NOT NULL ORDER BY seq`, upload))
}

// Deletable returns at most n objects that may be deleted now, those that have waited longest
// first. The size of an object that was never recorded is 0.
func (d *DB) Deletable(ctx context.Context, now int64, n int) ([]Object, error) {
	return scanObjects(d.query(ctx, `SELECT key, COALESCE(size, 0) FROM objects WHERE delete_after <= $1 ORDER BY delete_after LIMIT $2`, now, n))
}

// ClaimDeletable is Deletable for one of several deletion workers: no other one gets the objects
// before the time until.
func (tx *Tx) ClaimDeletable(now, until int64, n int) ([]Object, error) {
	return scanObjects(tx.query(`UPDATE objects SET delete_after = $2 WHERE key IN (
			SELECT key FROM objects WHERE delete_after <= $1 ORDER BY delete_after LIMIT $3`+tx.lock(lockFree)+`)
		RETURNING key, COALESCE(size, 0)`, now, until, n))
}

func scanObjects(rows *db.Rows, err error) ([]Object, error) {
	if err != nil {
		return nil, err
	}
	var objects []Object
	for rows.Next() {
		var o Object
		if err := rows.Scan(&o.Key, &o.Size); err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// ForgetObjects removes the rows of deleted objects. If the writer of an object never reported its
// end, a late request may still write it: the row stays, and the object is to be deleted once more
// at the time again. Rows of another owner than the deletion worker stay too.
func (tx *Tx) ForgetObjects(keys []string, again int64) error {
	_, err := tx.exec(`DELETE FROM objects WHERE delete_after IS NOT NULL AND writer_until IS NULL
		AND key IN (SELECT value FROM `+tx.each(1)+`)`, keys)
	if err != nil {
		return err
	}
	_, err = tx.exec(`UPDATE objects SET delete_after = $2, writer_until = NULL, charged = NULL, claimed = NULL
		WHERE delete_after IS NOT NULL AND writer_until IS NOT NULL
		AND key IN (SELECT value FROM `+tx.each(1)+`)`, keys, again)
	return err
}

// PostponeObjects records that an attempt to delete objects failed, and sets the time of the next
// one.
func (tx *Tx) PostponeObjects(keys []string, until int64) error {
	_, err := tx.exec(`UPDATE objects SET attempts = attempts + 1, delete_after = $2
		WHERE delete_after IS NOT NULL AND key IN (SELECT value FROM `+tx.each(1)+`)`, keys, until)
	return err
}

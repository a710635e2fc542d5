package rows

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/internal/db"
)

// SigningKey is a key that signs registry tokens, with its private part. Times are in microseconds
// since 1970.
type SigningKey struct {
	KID       string
	State     string // "next", "active" or "retired"
	PEM       string
	CreatedAt int64
	ActiveAt  int64 // when it becomes or became active; 0 if unknown
	RetiredAt int64 // 0 if it is not retired
}

// String returns a description without the private part.
func (k SigningKey) String() string { return fmt.Sprintf("%s key %s", k.State, k.KID) }

// GoString returns a description without the private part.
func (k SigningKey) GoString() string { return k.String() }

// SigningKeys returns all keys, oldest first.
func (d *DB) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return scanSigningKeys(d.query(ctx, signingKeysSQL))
}

// SigningKeys is like DB.SigningKeys, in the transaction. No other transaction that calls it goes
// on before this one ends: what the keys decide stays right.
func (tx *Tx) SigningKeys() ([]SigningKey, error) {
	if err := tx.lockAuth(); err != nil {
		return nil, err
	}
	return scanSigningKeys(tx.query(signingKeysSQL))
}

const signingKeysSQL = `SELECT kid, state, pem, created_at, active_at, retired_at FROM signing_keys ORDER BY created_at, kid`

func scanSigningKeys(rows *db.Rows, err error) ([]SigningKey, error) {
	return scanAll(rows, err, func(row scanner) (SigningKey, error) {
		var k SigningKey
		err := row.Scan(&k.KID, &k.State, &k.PEM, &k.CreatedAt, &k.ActiveAt, &k.RetiredAt)
		return k, err
	})
}

// PutSigningKey creates a key, or replaces the key with the same KID.
func (tx *Tx) PutSigningKey(k SigningKey) error {
	_, err := tx.exec(`INSERT INTO signing_keys (kid, state, pem, created_at, active_at, retired_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (kid) DO UPDATE SET state = excluded.state, pem = excluded.pem, created_at = excluded.created_at,
			active_at = excluded.active_at, retired_at = excluded.retired_at`,
		k.KID, k.State, k.PEM, k.CreatedAt, k.ActiveAt, k.RetiredAt)
	if err != nil {
		return err
	}
	return tx.raiseAuthVersion()
}

// DeleteSigningKey deletes a key.
func (tx *Tx) DeleteSigningKey(kid string) error {
	return tx.finishChange(tx.exec(`DELETE FROM signing_keys WHERE kid = $1`, kid))
}

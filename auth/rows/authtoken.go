package rows

import (
	"context"
	"fmt"
	"io/fs"
)

// AuthToken is a secret that stands for a login without a password: a personal or
// robot token, or the session of a CI job. The secret is not there, only its hash.
type AuthToken struct {
	ID        int64 // never given to another token
	AccountID int64 // whose it is; 0 for a session
	Kind      string
	Name      string // as its owner calls it
	Hash      []byte
	Scope     string   // what it may do at most; "" for a session
	CIDRs     []string // where it may come from; none is everywhere
	Identity  string   // of a session, as JSON
	CreatedAt int64
	ExpiresAt int64
	UsedAt    int64 // 0 for never
}

// String does not show the hash.
func (t AuthToken) String() string { return fmt.Sprintf("%s token %d", t.Kind, t.ID) }

// GoString does not either.
func (t AuthToken) GoString() string { return t.String() }

// AuthTokenByHash returns the token whose secret has the hash, or fs.ErrNotExist.
func (d *DB) AuthTokenByHash(ctx context.Context, hash []byte) (AuthToken, error) {
	return scanAuthToken(d.queryRow(ctx, `SELECT id, COALESCE(account_id, 0), kind, name, hash, scope, cidrs, identity, created_at, expires_at, used_at
		FROM auth_tokens WHERE hash = $1`, hash))
}

// AuthTokenByID returns a token, or fs.ErrNotExist.
func (d *DB) AuthTokenByID(ctx context.Context, id int64) (AuthToken, error) {
	return scanAuthToken(d.queryRow(ctx, `SELECT id, COALESCE(account_id, 0), kind, name, hash, scope, cidrs, identity, created_at, expires_at, used_at
		FROM auth_tokens WHERE id = $1`, id))
}

// AuthTokens returns at most n tokens and sessions whose ids are above last, in their order.
func (d *DB) AuthTokens(ctx context.Context, last int64, n int) ([]AuthToken, error) {
	rows, err := d.query(ctx, `SELECT id, COALESCE(account_id, 0), kind, name, hash, scope, cidrs, identity, created_at, expires_at, used_at
		FROM auth_tokens WHERE id > $1 ORDER BY id LIMIT $2`, last, n)
	return scanAll(rows, err, scanAuthToken)
}

// AuthTokensOf returns at most n tokens of an account whose ids are above last, in their order.
func (d *DB) AuthTokensOf(ctx context.Context, accountID, last int64, n int) ([]AuthToken, error) {
	rows, err := d.query(ctx, `SELECT id, COALESCE(account_id, 0), kind, name, hash, scope, cidrs, identity, created_at, expires_at, used_at
		FROM auth_tokens WHERE account_id = $1 AND id > $2 ORDER BY id LIMIT $3`, accountID, last, n)
	return scanAll(rows, err, scanAuthToken)
}

func scanAuthToken(row scanner) (AuthToken, error) {
	var t AuthToken
	var cidrs string
	err := row.Scan(&t.ID, &t.AccountID, &t.Kind, &t.Name, &t.Hash, &t.Scope, &cidrs, &t.Identity, &t.CreatedAt, &t.ExpiresAt, &t.UsedAt)
	if err != nil {
		return AuthToken{}, err
	}
	t.CIDRs, err = decodeList(cidrs)
	return t, err
}

// CreateAuthToken makes a token, which has no ID yet, and returns its ID. The
// AuthVersion stays: nothing that was read before can be about it.
func (tx *Tx) CreateAuthToken(t AuthToken) (int64, error) {
	cidrs, err := encodeList(t.CIDRs)
	if err != nil {
		return 0, err
	}
	var id int64
	err = tx.queryRow(`INSERT INTO auth_tokens (account_id, kind, name, hash, scope, cidrs, identity, created_at, expires_at)
		VALUES (NULLIF($1, 0), $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id`,
		t.AccountID, t.Kind, t.Name, t.Hash, t.Scope, cidrs, t.Identity, t.CreatedAt, t.ExpiresAt).Scan(&id)
	return id, err
}

// DeleteAuthToken removes a token, or is fs.ErrNotExist.
func (tx *Tx) DeleteAuthToken(id int64) error {
	return tx.finishChange(tx.exec(`DELETE FROM auth_tokens WHERE id = $1`, id))
}

// DeleteAuthTokensOf removes all tokens of an account.
func (tx *Tx) DeleteAuthTokensOf(accountID int64) error {
	n, err := tx.exec(`DELETE FROM auth_tokens WHERE account_id = $1`, accountID)
	if err != nil || n == 0 {
		return err
	}
	return tx.raiseAuthVersion()
}

// TouchAuthToken records when a token was last used. The AuthVersion stays. A token
// that is gone is none to touch, and no error.
func (tx *Tx) TouchAuthToken(id, at int64) error {
	_, err := tx.exec(`UPDATE auth_tokens SET used_at = $2 WHERE id = $1 AND used_at < $2`, id, at)
	return err
}

// UseIDToken records that an identity token was exchanged, which it is to be known for
// until expires. It is fs.ErrExist when it was exchanged before. The AuthVersion stays.
func (tx *Tx) UseIDToken(issuer, jti string, expires int64) error {
	n, err := tx.exec(`INSERT INTO used_id_tokens (issuer, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		issuer, jti, expires)
	if err == nil && n == 0 {
		return fs.ErrExist
	}
	return err
}

// ForgetExpired removes at most n sessions and n used identity tokens that expired
// before now. Personal and robot tokens stay, so that a list shows them expired. The
// AuthVersion stays: an expired row has no effect.
func (tx *Tx) DeleteExpired(now int64, n int) error {
	_, err := tx.exec(`DELETE FROM auth_tokens WHERE id IN
		(SELECT id FROM auth_tokens WHERE account_id IS NULL AND expires_at < $1 LIMIT $2)`, now, n)
	if err != nil {
		return err
	}
	_, err = tx.exec(`DELETE FROM used_id_tokens WHERE (issuer, jti) IN
		(SELECT issuer, jti FROM used_id_tokens WHERE expires_at < $1 LIMIT $2)`, now, n)
	return err
}

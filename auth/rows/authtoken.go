package rows

import (
	"context"
	"fmt"
	"io/fs"
)

// AuthToken is a personal token, a robot token, or the login session of a CI job. Times are in
// microseconds since 1970.
type AuthToken struct {
	ID        int64 // never reused
	AccountID int64 // the owner; 0 for a login session
	Kind      string
	Name      string   // chosen by the owner
	Hash      []byte   // SHA-256 of the secret, which is not stored
	Scope     string   // limits what the token may do; "" for a login session
	CIDRs     []string // networks that it may be used from; none means everywhere
	Identity  string   // the identity of a login session, as JSON
	CreatedAt int64
	ExpiresAt int64
	UsedAt    int64 // last use; 0 means never
}

// authTokenColumns are the columns that scanAuthToken reads.
const authTokenColumns = `id, COALESCE(account_id, 0), kind, name, hash, scope, cidrs, identity,
	created_at, expires_at, used_at`

// String returns a description without the hash.
func (t AuthToken) String() string { return fmt.Sprintf("%s token %d", t.Kind, t.ID) }

// GoString returns a description without the hash.
func (t AuthToken) GoString() string { return t.String() }

// AuthTokenByHash returns the token whose secret has a hash.
func (d *DB) AuthTokenByHash(ctx context.Context, hash []byte) (AuthToken, error) {
	return scanAuthToken(d.queryRow(ctx, `SELECT `+authTokenColumns+` FROM auth_tokens WHERE hash = $1`, hash))
}

// AuthTokenByID returns the token with an id.
func (d *DB) AuthTokenByID(ctx context.Context, id int64) (AuthToken, error) {
	return scanAuthToken(d.queryRow(ctx, `SELECT `+authTokenColumns+` FROM auth_tokens WHERE id = $1`, id))
}

// AuthTokens returns at most n tokens and login sessions with ids above last, ordered by id.
func (d *DB) AuthTokens(ctx context.Context, last int64, n int) ([]AuthToken, error) {
	rows, err := d.query(ctx, `SELECT `+authTokenColumns+` FROM auth_tokens WHERE id > $1 ORDER BY id LIMIT $2`, last, n)
	return scanAll(rows, err, scanAuthToken)
}

// AuthTokensOf returns at most n tokens of an account with ids above last, ordered by id.
func (d *DB) AuthTokensOf(ctx context.Context, accountID, last int64, n int) ([]AuthToken, error) {
	rows, err := d.query(ctx, `SELECT `+authTokenColumns+` FROM auth_tokens
		WHERE account_id = $1 AND id > $2 ORDER BY id LIMIT $3`, accountID, last, n)
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

// CreateAuthToken creates a token and returns its ID; the ID of t is ignored. The AuthVersion
// stays, because no cached data can be about a new token.
func (tx *Tx) CreateAuthToken(t AuthToken) (int64, error) {
	cidrs, err := encodeList(t.CIDRs)
	if err != nil {
		return 0, err
	}
	var id int64
	var account any // NULL for a login session
	if t.AccountID != 0 {
		account = t.AccountID
	}
	err = tx.queryRow(`INSERT INTO auth_tokens (account_id, kind, name, hash, scope, cidrs, identity, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id`,
		account, t.Kind, t.Name, t.Hash, t.Scope, cidrs, t.Identity, t.CreatedAt, t.ExpiresAt).Scan(&id)
	return id, err
}

// DeleteAuthToken deletes a token.
func (tx *Tx) DeleteAuthToken(id int64) error {
	return tx.finishChange(tx.exec(`DELETE FROM auth_tokens WHERE id = $1`, id))
}

// DeleteAuthTokensOf deletes all tokens of an account, of which there may be none.
func (tx *Tx) DeleteAuthTokensOf(accountID int64) error {
	n, err := tx.exec(`DELETE FROM auth_tokens WHERE account_id = $1`, accountID)
	if err != nil || n == 0 {
		return err
	}
	return tx.raiseAuthVersion()
}

// TouchAuthToken records the last use of a token at a time in microseconds since 1970. A missing
// token is not an error. The AuthVersion stays.
func (tx *Tx) TouchAuthToken(id, at int64) error {
	_, err := tx.exec(`UPDATE auth_tokens SET used_at = $2 WHERE id = $1 AND used_at < $2`, id, at)
	return err
}

// UseIDToken records that an id_token was exchanged, and keeps the record until expires. If there
// is a record already, the error is fs.ErrExist. The AuthVersion stays.
func (tx *Tx) UseIDToken(issuer, jti string, expires int64) error {
	n, err := tx.exec(`INSERT INTO used_id_tokens (issuer, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		issuer, jti, expires)
	if err == nil && n == 0 {
		return fs.ErrExist
	}
	return err
}

// DeleteExpired deletes at most n login sessions, and at most n records of used id_tokens, that
// expired before now. Personal and robot tokens stay, so that lists show them as expired. The
// AuthVersion stays, because an expired row has no effect.
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

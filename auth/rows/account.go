package rows

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/berth-registry/berth/internal/db"
)

// Account is a user or a robot.
type Account struct {
	ID           int64  // never reused
	Kind         string // "user" or "robot"
	Name         string
	PasswordHash string // "" for an account without a password
	PasswordCost int    // the bcrypt cost of PasswordHash
	Groups       []string
	Disabled     bool
	Stamp        int64 // counts the changes of the password
	CreatedAt    int64 // in microseconds since 1970
}

// accountColumns are the columns that scanAccount reads.
const accountColumns = `id, kind, name, password_hash, password_cost, groups, disabled, stamp, created_at`

// String returns a description without the hash.
func (a Account) String() string { return fmt.Sprintf("%s %q", a.Kind, a.Name) }

// GoString returns a description without the hash.
func (a Account) GoString() string { return a.String() }

// AuthEnabled reports whether authentication was ever enabled.
func (d *DB) AuthEnabled(ctx context.Context) (bool, error) {
	var enabled bool
	err := d.queryRow(ctx, `SELECT enabled_at IS NOT NULL FROM auth WHERE id = 1`).Scan(&enabled)
	return enabled, err
}

// EnableAuth enables authentication at a time in microseconds since 1970. It cannot be undone.
func (tx *Tx) EnableAuth(now int64) error {
	_, err := tx.exec(`UPDATE auth SET enabled_at = $1, version = version + 1 WHERE id = 1 AND enabled_at IS NULL`, now)
	return err
}

// HasAccounts reports whether there is at least one user or robot.
func (d *DB) HasAccounts(ctx context.Context) (bool, error) {
	var has bool
	err := d.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM accounts)`).Scan(&has)
	return has, err
}

// HasAccount reports whether there is an account of this name. Its work is the same in both cases.
func (d *DB) HasAccount(ctx context.Context, kind, name string) (bool, error) {
	if !db.Storable(name) {
		return false, nil
	}
	var has bool
	err := d.queryRow(ctx,
		`SELECT EXISTS (SELECT 1 FROM accounts WHERE kind = $1 AND name = $2)`, kind, name).Scan(&has)
	return has, err
}

// HighestPasswordCost returns the highest bcrypt cost of all passwords, or 0 if there are none.
func (d *DB) HighestPasswordCost(ctx context.Context) (int, error) {
	var cost int
	err := d.queryRow(ctx, `SELECT COALESCE(MAX(password_cost), 0) FROM accounts`).Scan(&cost)
	return cost, err
}

// Account returns the account with a kind and name.
func (d *DB) Account(ctx context.Context, kind, name string) (Account, error) {
	if !db.Storable(name) {
		return Account{}, fs.ErrNotExist
	}
	return scanAccount(d.queryRow(ctx,
		`SELECT `+accountColumns+` FROM accounts WHERE kind = $1 AND name = $2`, kind, name))
}

// similarNameSQL selects the name that equals the argument but for the case of its ASCII letters.
const similarNameSQL = `SELECT name FROM accounts WHERE kind = $1 AND lower(name) = lower($2)
	ORDER BY name = $2 DESC, name LIMIT 1`

// SimilarName returns the name of the account whose name equals name but for the case of its
// letters; name itself if there is such an account.
func (d *DB) SimilarName(ctx context.Context, kind, name string) (similar string, err error) {
	if !db.Storable(name) {
		return "", fs.ErrNotExist
	}
	err = d.queryRow(ctx, similarNameSQL, kind, name).Scan(&similar)
	return similar, err
}

// SimilarName is DB.SimilarName in the transaction. No other transaction that calls it goes on
// before this one ends: a name that is free stays free.
func (tx *Tx) SimilarName(kind, name string) (similar string, err error) {
	if err := tx.lockAuth(); err != nil {
		return "", err
	}
	err = tx.queryRow(similarNameSQL, kind, name).Scan(&similar)
	return similar, err
}

// AccountByID returns the account with an id.
func (d *DB) AccountByID(ctx context.Context, id int64) (Account, error) {
	return scanAccount(d.queryRow(ctx, `SELECT `+accountColumns+` FROM accounts WHERE id = $1`, id))
}

// Accounts returns at most n accounts of a kind whose names are after last, in byte order.
func (d *DB) Accounts(ctx context.Context, kind, last string, n int) ([]Account, error) {
	rows, err := d.query(ctx,
		`SELECT `+accountColumns+` FROM accounts WHERE kind = $1 AND name > $2 ORDER BY name LIMIT $3`, kind, last, n)
	return scanAll(rows, err, scanAccount)
}

// CreateAccount creates an account and returns its ID; the ID and Stamp of a are ignored. If there
// is an account with the kind and name, the error is fs.ErrExist. The first user enables
// authentication (see EnableAuth).
func (tx *Tx) CreateAccount(a Account) (int64, error) {
	groups, err := encodeList(a.Groups)
	if err != nil {
		return 0, err
	}
	var id int64
	err = tx.queryRow(`INSERT INTO accounts (kind, name, password_hash, password_cost, groups, disabled, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id`,
		a.Kind, a.Name, a.PasswordHash, a.PasswordCost, groups, a.Disabled, a.CreatedAt).Scan(&id)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s: %w", a, fs.ErrExist)
	}
	if err != nil {
		return 0, err
	}
	if a.Kind == "user" {
		if err := tx.EnableAuth(a.CreatedAt); err != nil {
			return 0, err
		}
	}
	return id, tx.raiseAuthVersion()
}

// SetPassword sets the password hash of an account and its bcrypt cost, and changes its Stamp.
func (tx *Tx) SetPassword(id int64, hash string, cost int) error {
	return tx.finishChange(tx.exec(`UPDATE accounts SET password_hash = $2, password_cost = $3, stamp = stamp + 1
		WHERE id = $1`, id, hash, cost))
}

// SetGroups replaces the groups of an account.
func (tx *Tx) SetGroups(id int64, groups []string) error {
	list, err := encodeList(groups)
	if err != nil {
		return err
	}
	return tx.finishChange(tx.exec(`UPDATE accounts SET groups = $2 WHERE id = $1`, id, list))
}

// SetDisabled disables or enables an account.
func (tx *Tx) SetDisabled(id int64, disabled bool) error {
	return tx.finishChange(tx.exec(`UPDATE accounts SET disabled = $2 WHERE id = $1`, id, disabled))
}

// DeleteAccount deletes an account and its tokens.
func (tx *Tx) DeleteAccount(id int64) error {
	return tx.finishChange(tx.exec(`DELETE FROM accounts WHERE id = $1`, id))
}

func scanAccount(row scanner) (Account, error) {
	var a Account
	var groups string
	err := row.Scan(&a.ID, &a.Kind, &a.Name, &a.PasswordHash, &a.PasswordCost, &groups, &a.Disabled, &a.Stamp, &a.CreatedAt)
	if err != nil {
		return Account{}, err
	}
	a.Groups, err = decodeList(groups)
	return a, err
}

package meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// Account is a user or a robot.
type Account struct {
	ID           int64  // never given to another account
	Kind         string // "user" or "robot"
	Name         string
	PasswordHash string // "" where no password lets in
	PasswordCost int    // of the hash
	Groups       []string
	Disabled     bool
	Stamp        int64 // counts the changes of the password
	CreatedAt    int64
}

// String does not show the hash.
func (a Account) String() string { return fmt.Sprintf("%s %q", a.Kind, a.Name) }

// GoString does not either.
func (a Account) GoString() string { return a.String() }

// AuthVersion returns a number that changes with each change of accounts, tokens and
// signing keys, also by other processes. What was read after it returned a number
// holds for as long as it returns the same.
func (db *DB) AuthVersion() (int64, error) {
	var version int64
	err := db.queryRow(`SELECT version FROM auth WHERE id = 1`).Scan(&version)
	return version, err
}

// changeAuth lets the AuthVersion change with the commit.
func (tx *Tx) changeAuth() error {
	_, err := tx.exec(`UPDATE auth SET version = version + 1 WHERE id = 1`)
	return err
}

// AuthEnabled says whether authentication was ever on.
func (db *DB) AuthEnabled() (bool, error) {
	var enabled bool
	err := db.queryRow(`SELECT enabled_at IS NOT NULL FROM auth WHERE id = 1`).Scan(&enabled)
	return enabled, err
}

// EnableAuth records that authentication is on, which nothing takes back.
func (tx *Tx) EnableAuth(now int64) error {
	_, err := tx.exec(`UPDATE auth SET enabled_at = $1, version = version + 1 WHERE id = 1 AND enabled_at IS NULL`, now)
	return err
}

// Empty reports whether the database holds nothing of anybody: no repository, not even an unlisted
// one, no upload and no account.
func (db *DB) Empty() (bool, error) {
	var empty bool
	err := db.queryRow(`SELECT NOT EXISTS (SELECT 1 FROM repositories) AND NOT EXISTS (SELECT 1 FROM uploads)
		AND NOT EXISTS (SELECT 1 FROM accounts)`).Scan(&empty)
	return empty, err
}

// HasAccounts says whether there is any user or robot.
func (db *DB) HasAccounts() (bool, error) {
	var has bool
	err := db.queryRow(`SELECT EXISTS (SELECT 1 FROM accounts)`).Scan(&has)
	return has, err
}

// HighestPasswordCost returns the highest cost of all passwords, 0 where there are none.
func (db *DB) HighestPasswordCost() (int, error) {
	var cost int
	err := db.queryRow(`SELECT COALESCE(MAX(password_cost), 0) FROM accounts`).Scan(&cost)
	return cost, err
}

// Account returns the account of a kind and name, or fs.ErrNotExist.
func (db *DB) Account(kind, name string) (Account, error) {
	return scanAccount(db.queryRow(`SELECT id, kind, name, password_hash, password_cost, groups, disabled, stamp, created_at
		FROM accounts WHERE kind = $1 AND name = $2`, kind, name))
}

// AccountByID returns an account, or fs.ErrNotExist.
func (db *DB) AccountByID(id int64) (Account, error) {
	return scanAccount(db.queryRow(`SELECT id, kind, name, password_hash, password_cost, groups, disabled, stamp, created_at
		FROM accounts WHERE id = $1`, id))
}

// Accounts returns at most n accounts of a kind whose names come after last, in byte order.
func (db *DB) Accounts(kind, last string, n int) ([]Account, error) {
	rows, err := db.query(`SELECT id, kind, name, password_hash, password_cost, groups, disabled, stamp, created_at
		FROM accounts WHERE kind = $1 AND name > $2 ORDER BY name LIMIT $3`, kind, last, n)
	return scanAll(rows, err, scanAccount)
}

// CreateAccount makes an account, which has no ID and no Stamp yet, and returns its ID.
// It is fs.ErrExist where the kind has one of that name. A user switches authentication
// on (see EnableAuth).
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
	return id, tx.changeAuth()
}

// SetPassword changes the hash of an account's password and its Stamp, or is fs.ErrNotExist.
func (tx *Tx) SetPassword(id int64, hash string, cost int) error {
	return tx.changeOne(tx.exec(`UPDATE accounts SET password_hash = $2, password_cost = $3, stamp = stamp + 1
		WHERE id = $1`, id, hash, cost))
}

// SetGroups changes the groups of an account, or is fs.ErrNotExist.
func (tx *Tx) SetGroups(id int64, groups []string) error {
	list, err := encodeList(groups)
	if err != nil {
		return err
	}
	return tx.changeOne(tx.exec(`UPDATE accounts SET groups = $2 WHERE id = $1`, id, list))
}

// SetDisabled shuts an account out or lets it in again, or is fs.ErrNotExist.
func (tx *Tx) SetDisabled(id int64, disabled bool) error {
	return tx.changeOne(tx.exec(`UPDATE accounts SET disabled = $2 WHERE id = $1`, id, disabled))
}

// DeleteAccount removes an account and its tokens, or is fs.ErrNotExist.
func (tx *Tx) DeleteAccount(id int64) error {
	return tx.changeOne(tx.exec(`DELETE FROM accounts WHERE id = $1`, id))
}

// changeOne ends a change of n rows, of which there should be one.
func (tx *Tx) changeOne(n int64, err error) error {
	if err != nil {
		return err
	}
	if n == 0 {
		return fs.ErrNotExist
	}
	return tx.changeAuth()
}

// scanner is one row of a result.
type scanner interface{ Scan(dest ...any) error }

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

// scanAll scans each row of a result.
func scanAll[T any](r *rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var all []T
	for r.Next() {
		one, err := scan(r)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, r.Err()
}

// encodeList makes a column's JSON array of a list.
func encodeList(list []string) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	text, err := json.Marshal(list)
	return string(text), err
}

// decodeList reads what encodeList made. An empty list is nil.
func decodeList(text string) ([]string, error) {
	if text == "[]" {
		return nil, nil
	}
	var list []string
	err := json.Unmarshal([]byte(text), &list)
	return list, err
}

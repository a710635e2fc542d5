// Package account implements the rules for users, robots and their tokens: which names and
// lifetimes are valid, what a new account needs, and what is removed together with an account. It
// does not depend on HTTP or on a command line.
//
// Each change is one transaction. A running server applies it from the next request on.
package account

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/rows"
)

var (
	// ErrExists is wrapped by the error for a name that is taken.
	ErrExists = errors.New("it exists already")
	// ErrUnknown is wrapped by the error for an account or token that does not exist.
	ErrUnknown = errors.New("it does not exist")
)

// userError is an error whose text is for users, and which wraps ErrExists or ErrUnknown.
type userError struct {
	kind error
	text string
}

func (p *userError) Error() string { return p.text }

func (p *userError) Unwrap() error { return p.kind }

// pageSize is the number of rows that a list reads at once.
const pageSize = 500

// Service reads and changes the accounts and tokens of a database. It is safe for concurrent use.
type Service struct {
	rows *rows.DB
	now  func() time.Time
}

// New returns the service of a database. now returns the current time.
func New(r *rows.DB, now func() time.Time) *Service { return &Service{rows: r, now: now} }

// Account is a user or a robot.
type Account struct {
	Kind     auth.Kind
	Name     string
	Groups   []string
	Disabled bool
	Created  time.Time

	id int64
}

func fromRow(a rows.Account) Account {
	return Account{
		Kind: auth.Kind(a.Kind), Name: a.Name, Groups: a.Groups, Disabled: a.Disabled,
		Created: time.UnixMicro(a.CreatedAt).UTC(), id: a.ID,
	}
}

// userName returns the user name that the account logs in with.
func (a Account) userName() string { return login.UserName(a.Kind, a.Name) }

// CheckNames returns nil if name and groups are valid for a new account. The names of groups follow
// the rule for accounts, so that a policy file can contain them.
func CheckNames(name string, groups []string) error {
	if err := auth.CheckAccountName(name); err != nil {
		return err
	}
	return checkGroups(groups)
}

func checkGroups(groups []string) error {
	for _, group := range groups {
		if err := auth.CheckAccountName(group); err != nil {
			return fmt.Errorf("group %q: %w", group, err)
		}
	}
	return nil
}

// Account returns the account with a kind and name.
// Errors: ErrUnknown.
func (s *Service) Account(ctx context.Context, kind auth.Kind, name string) (Account, error) {
	a, err := s.rows.Account(ctx, string(kind), name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Account{}, &userError{ErrUnknown, fmt.Sprintf("the database has no %s %q", kind, name)}
	case err != nil:
		return Account{}, fmt.Errorf("reading the %s %q: %w", kind, name, err)
	}
	return fromRow(a), nil
}

// AccountOf returns the account that logs in with a user name, such as "robot+deployer".
// Errors: ErrUnknown.
func (s *Service) AccountOf(ctx context.Context, userName string) (Account, error) {
	kind, name := login.ParseUserName(userName)
	return s.Account(ctx, kind, name)
}

// Accounts returns all accounts of a kind, ordered by name. An error is yielded with an empty
// Account and ends the sequence.
func (s *Service) Accounts(ctx context.Context, kind auth.Kind) iter.Seq2[Account, error] {
	return func(yield func(Account, error) bool) {
		for last, more := "", true; more; {
			page, err := s.rows.Accounts(ctx, string(kind), last, pageSize)
			if err != nil {
				yield(Account{}, fmt.Errorf("reading the %ss: %w", kind, err))
				return
			}
			for _, a := range page {
				if !yield(fromRow(a), nil) {
					return
				}
				last = a.Name
			}
			more = len(page) == pageSize
		}
	}
}

// CheckUnused returns an error if the name is taken, or differs from a taken one only in the case
// of letters. It lets a command find that out before it asks for a password.
// Errors: ErrExists.
func (s *Service) CheckUnused(ctx context.Context, kind auth.Kind, name string) error {
	similar, err := s.rows.SimilarName(ctx, string(kind), name)
	switch {
	case err == nil:
		return errTaken(kind, name, similar)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("reading the %s %q: %w", kind, name, err)
}

// create creates the row of an account, unless CheckUnused would refuse its name. Older accounts
// may have such names.
// Errors: ErrExists.
func create(tx *rows.Tx, a rows.Account) (id int64, err error) {
	similar, err := tx.SimilarName(a.Kind, a.Name)
	switch {
	case err == nil:
		return 0, errTaken(auth.Kind(a.Kind), a.Name, similar)
	case !errors.Is(err, fs.ErrNotExist):
		return 0, err
	}
	return tx.CreateAccount(a)
}

func errTaken(kind auth.Kind, name, similar string) error {
	text := fmt.Sprintf("there is a %s %q already", kind, similar)
	if similar != name {
		text += fmt.Sprintf(", and %q differs from it only in the case of letters: people take one for the other, so choose another name", name)
	}
	return &userError{ErrExists, text}
}

// AddUser adds a user with a password.
// Errors: ErrExists; those of CheckNames and of login.HashPassword.
func (s *Service) AddUser(ctx context.Context, name string, groups []string, password string) (Account, error) {
	if err := CheckNames(name, groups); err != nil {
		return Account{}, err
	}
	hash, err := login.HashPassword(password, login.DefaultCost)
	if err != nil {
		return Account{}, err
	}
	a := rows.Account{
		Kind: string(auth.User), Name: name, Groups: groups,
		PasswordHash: hash, PasswordCost: login.DefaultCost, CreatedAt: s.now().UnixMicro(),
	}
	err = s.rows.Tx(ctx, func(tx *rows.Tx) (err error) {
		a.ID, err = create(tx, a)
		return err
	})
	switch {
	case errors.Is(err, ErrExists):
		return Account{}, err
	case err != nil:
		return Account{}, fmt.Errorf("adding the user: %w", err)
	}
	return fromRow(a), nil
}

// FirstUser is the name of the first user of a new registry.
const FirstUser = "admin"

// AddFirstUser adds FirstUser with a random password that it tells to no one, and reports whether
// it did. If there is a user of that name already, it changes nothing.
func (s *Service) AddFirstUser(ctx context.Context) (added bool, err error) {
	_, err = s.AddUser(ctx, FirstUser, nil, rand.Text())
	switch {
	case errors.Is(err, ErrExists):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("making the user %s: %w", FirstUser, err)
	}
	return true, nil
}

// SetPassword changes a user's password. It revokes the user's tokens unless keepTokens is set.
// Errors: those of login.HashPassword.
func (s *Service) SetPassword(ctx context.Context, a Account, password string, keepTokens bool) error {
	hash, err := login.HashPassword(password, login.DefaultCost)
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *rows.Tx) error {
		if err := tx.SetPassword(a.id, hash, login.DefaultCost); err != nil || keepTokens {
			return err
		}
		return tx.DeleteAuthTokensOf(a.id)
	})
}

// SetGroups replaces the groups of an account and returns the changed account.
func (s *Service) SetGroups(ctx context.Context, a Account, groups []string) (Account, error) {
	if err := checkGroups(groups); err != nil {
		return a, err
	}
	a.Groups = groups
	return a, s.update(ctx, func(tx *rows.Tx) error { return tx.SetGroups(a.id, groups) })
}

// SetDisabled disables or enables an account with its tokens, and returns the changed account.
func (s *Service) SetDisabled(ctx context.Context, a Account, disabled bool) (Account, error) {
	a.Disabled = disabled
	return a, s.update(ctx, func(tx *rows.Tx) error { return tx.SetDisabled(a.id, disabled) })
}

// Remove removes an account with its tokens. A new account may use the name again; it has another
// id, so it is not taken for the removed one.
func (s *Service) Remove(ctx context.Context, a Account) error {
	return s.update(ctx, func(tx *rows.Tx) error { return tx.DeleteAccount(a.id) })
}

// update runs fn, which changes an existing account, in a transaction.
func (s *Service) update(ctx context.Context, fn func(tx *rows.Tx) error) error {
	if err := s.rows.Tx(ctx, fn); err != nil {
		return fmt.Errorf("changing the account: %w", err)
	}
	return nil
}

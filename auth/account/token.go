package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/rows"
)

const (
	day = 24 * time.Hour
	// DefaultLifetime is the lifetime of a token whose owner sets none, for ParseLifetime.
	DefaultLifetime = "90d"
	maxLifetime     = 366 * day

	maxTokenName = 128 // bytes
)

// TokenOptions are the properties of a new token that its owner chooses.
type TokenOptions struct {
	Name     string         // shown in lists; may be empty
	Scope    auth.Scope     // limits what the token may do
	Lifetime time.Duration  // see ParseLifetime
	Networks []netip.Prefix // networks that the token may be used from; none means everywhere
}

// Token is a personal or robot token, or the login session of a CI job, without its secret.
type Token struct {
	ID       int64
	Kind     string
	Owner    string // the user name of its account; "" for a login session
	Name     string
	Scope    string
	Networks []string
	Created  time.Time
	Expires  time.Time
	LastUsed time.Time // zero if it was never used
}

// ParseLifetime parses the lifetime of a token: a number of days ("90d"), or a duration in the form
// of time.ParseDuration. A valid lifetime is from one minute to 366 days.
func ParseLifetime(text string) (time.Duration, error) {
	lifetime, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		lifetime = time.Duration(n) * day
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q: expected days as %s, or hours and minutes as 12h30m", text, DefaultLifetime)
	case lifetime < time.Minute || lifetime > maxLifetime:
		return 0, fmt.Errorf("%q: a token is good for a minute to %d days", text, maxLifetime/day)
	}
	return lifetime, nil
}

// CheckTokenName returns nil if name is valid for a token.
func CheckTokenName(name string) error {
	if len(name) > maxTokenName || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("expected at most %d printable characters", maxTokenName)
	}
	return nil
}

// CreateToken creates a token for an account and returns it with its secret, which is not stored.
// Errors: those of CheckTokenName.
func (s *Service) CreateToken(ctx context.Context, owner Account, t TokenOptions) (Token, string, error) {
	return s.createToken(ctx, owner, t, func(*rows.Tx) (int64, error) { return owner.id, nil })
}

// CreateRobot creates a robot with a token, and returns the token with its secret.
// Errors: ErrExists; those of CheckNames and CheckTokenName.
func (s *Service) CreateRobot(
	ctx context.Context, name string, groups []string, t TokenOptions,
) (Token, string, error) {
	if err := CheckNames(name, groups); err != nil {
		return Token{}, "", err
	}
	robot := Account{Kind: auth.Robot, Name: name, Groups: groups}
	return s.createToken(ctx, robot, t, func(tx *rows.Tx) (int64, error) {
		return create(tx, rows.Account{
			Kind: string(auth.Robot), Name: name, Groups: groups, CreatedAt: s.now().UnixMicro(),
		})
	})
}

// createToken creates a token for an account. ownerID returns the id of the account's row, which it
// may insert in the same transaction.
func (s *Service) createToken(
	ctx context.Context, owner Account, t TokenOptions, ownerID func(*rows.Tx) (int64, error),
) (Token, string, error) {
	if err := CheckTokenName(t.Name); err != nil {
		return Token{}, "", err
	}
	kind := login.PersonalToken
	if owner.Kind == auth.Robot {
		kind = login.RobotToken
	}
	now := s.now()
	secret, hash := login.NewSecret(kind)
	row := rows.AuthToken{
		Kind: string(kind), Hash: hash, Name: t.Name, Scope: t.Scope.String(),
		CreatedAt: now.UnixMicro(), ExpiresAt: now.Add(t.Lifetime).UnixMicro(),
	}
	for _, network := range t.Networks {
		row.CIDRs = append(row.CIDRs, network.String())
	}
	err := s.rows.Tx(ctx, func(tx *rows.Tx) (err error) {
		if row.AccountID, err = ownerID(tx); err != nil {
			return err
		}
		row.ID, err = tx.CreateAuthToken(row)
		return err
	})
	if err != nil {
		return Token{}, "", fmt.Errorf("creating the token: %w", err)
	}
	return tokenFromRow(row, owner.userName()), secret, nil
}

func tokenFromRow(t rows.AuthToken, owner string) Token {
	token := Token{
		ID: t.ID, Kind: t.Kind, Owner: owner, Name: t.Name, Scope: t.Scope, Networks: t.CIDRs,
		Created: time.UnixMicro(t.CreatedAt).UTC(), Expires: time.UnixMicro(t.ExpiresAt).UTC(),
	}
	if t.UsedAt != 0 {
		token.LastUsed = time.UnixMicro(t.UsedAt).UTC()
	}
	return token
}

// Tokens returns the tokens of all accounts and all login sessions, in the order of their creation.
func (s *Service) Tokens(ctx context.Context) ([]Token, error) {
	owners := make(map[int64]string)
	for _, kind := range []auth.Kind{auth.User, auth.Robot} {
		for a, err := range s.Accounts(ctx, kind) {
			if err != nil {
				return nil, err
			}
			owners[a.id] = a.userName()
		}
	}
	return readTokens(owners, func(last int64) ([]rows.AuthToken, error) {
		return s.rows.AuthTokens(ctx, last, pageSize)
	})
}

// TokensOf returns the tokens of an account in the order of their creation.
func (s *Service) TokensOf(ctx context.Context, owner Account) ([]Token, error) {
	return readTokens(map[int64]string{owner.id: owner.userName()}, func(last int64) ([]rows.AuthToken, error) {
		return s.rows.AuthTokensOf(ctx, owner.id, last, pageSize)
	})
}

// readTokens reads tokens page by page. owners maps the ids of accounts to user names. next returns
// the page after the token with the id last.
func readTokens(owners map[int64]string, next func(last int64) ([]rows.AuthToken, error)) ([]Token, error) {
	var list []Token
	for last := int64(0); ; {
		page, err := next(last)
		if err != nil {
			return nil, fmt.Errorf("reading the tokens: %w", err)
		}
		for _, t := range page {
			list = append(list, tokenFromRow(t, owners[t.AccountID]))
			last = t.ID
		}
		if len(page) < pageSize {
			return list, nil
		}
	}
}

// Revoke deletes a token or a login session.
// Errors: ErrUnknown.
func (s *Service) Revoke(ctx context.Context, id int64) error {
	err := s.rows.Tx(ctx, func(tx *rows.Tx) error { return tx.DeleteAuthToken(id) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &userError{ErrUnknown, fmt.Sprintf("there is no token %d", id)}
	case err != nil:
		return fmt.Errorf("revoking token %d: %w", id, err)
	}
	return nil
}

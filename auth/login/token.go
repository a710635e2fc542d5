package login

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
)

const (
	tokenUserName   = "_token" // user name for any token
	tokenCredential = "token:" // prefix of Identity.Credential; the id of the token follows
)

// robotPrefix is the prefix of a robot's user name. Names of users have no plus sign.
const robotPrefix = "robot+"

// UserName returns the user name that an account logs in with.
func UserName(kind auth.Kind, name string) string {
	if kind == auth.Robot {
		return robotPrefix + name
	}
	return name
}

// ParseUserName returns the kind and name of the account that logs in with a user name.
func ParseUserName(userName string) (kind auth.Kind, name string) {
	if robot, ok := strings.CutPrefix(userName, robotPrefix); ok {
		return auth.Robot, robot
	}
	return auth.User, userName
}

// tokenSource is the auth.Source of users and robots with personal and robot tokens.
type tokenSource struct {
	rows     *rows.DB
	now      func() time.Time
	recorder *useRecorder
}

// Name returns "token".
func (t *tokenSource) Name() string { return "token" }

// Authenticate accepts a personal or robot token. The user name is its owner's, with "robot+"
// before a robot's, or "_token".
func (t *tokenSource) Authenticate(ctx context.Context, c auth.Credentials) (auth.Identity, error) {
	row, err := tokenBySecret(ctx, t.rows, c.Secret, PersonalToken, RobotToken)
	if err != nil {
		return auth.Identity{}, err
	}
	id, err := t.identity(ctx, row)
	if err != nil {
		return auth.Identity{}, err
	}
	if c.Name != UserName(id.Kind, id.Name) && c.Name != tokenUserName {
		return auth.Identity{}, fmt.Errorf("%w: %s is not the user's whose name came with it", auth.ErrCredentials, id.Credential)
	}
	if !id.AllowedFrom(c.From) {
		return auth.Identity{}, fmt.Errorf("%w: %s may not be used from this address", auth.ErrCredentials, id.Credential)
	}
	t.recorder.record(ctx, row, t.now())
	return id, nil
}

// Current reads the token and its owner again.
func (t *tokenSource) Current(ctx context.Context, id auth.Identity) (auth.Identity, error) {
	row, err := tokenByCredential(ctx, t.rows, id.Credential, tokenCredential)
	if err != nil {
		return auth.Identity{}, err
	}
	now, err := t.identity(ctx, row)
	if err != nil && !errors.Is(err, auth.ErrExpired) {
		return auth.Identity{}, err
	}
	if now.Owner() != id.Owner() {
		return auth.Identity{}, fmt.Errorf("%w: %s is another's", auth.ErrCredentials, id.Credential)
	}
	return now, err
}

// identity returns the current identity of a token's holder. It also does so with auth.ErrExpired.
func (t *tokenSource) identity(ctx context.Context, row rows.AuthToken) (auth.Identity, error) {
	credential := tokenCredential + strconv.FormatInt(row.ID, 10)
	owner, err := t.rows.AccountByID(ctx, row.AccountID)
	switch {
	case errors.Is(err, fs.ErrNotExist): // removed between the two reads
		return auth.Identity{}, fmt.Errorf("%w: the owner of %s is gone", auth.ErrCredentials, credential)
	case err != nil:
		return auth.Identity{}, unavailable("reading the owner of a token", err)
	case owner.Disabled:
		return auth.Identity{}, fmt.Errorf("%w: the owner of %s is disabled", auth.ErrCredentials, credential)
	}
	id := accountIdentity(owner)
	id.Credential, id.Expires = credential, time.UnixMicro(row.ExpiresAt)
	if id.Scope, err = auth.ParseScope(row.Scope); err != nil {
		return auth.Identity{}, unavailable("reading "+credential, err)
	}
	if id.Networks, err = parseNetworks(row.CIDRs); err != nil {
		return auth.Identity{}, unavailable("reading "+credential, err)
	}
	if expired(id.Expires, t.now()) {
		return id, fmt.Errorf("%w: %s", auth.ErrExpired, credential)
	}
	return id, nil
}

// tokenBySecret returns the row of a secret that has one of these kinds.
//
// Errors: auth.ErrNotMine for other secrets; auth.ErrCredentials; auth.ErrUnavailable.
func tokenBySecret(ctx context.Context, db *rows.DB, secret string, kinds ...TokenKind) (rows.AuthToken, error) {
	prefixKind, _ := kindByPrefix(secret)
	if !slices.Contains(kinds, prefixKind) {
		return rows.AuthToken{}, auth.ErrNotMine
	}
	kind, err := ParseSecret(secret)
	if err != nil {
		return rows.AuthToken{}, fmt.Errorf("%w: the token has a typing error", err)
	}
	row, err := db.AuthTokenByHash(ctx, hashSecret(secret))
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && row.Kind != string(kind):
		return rows.AuthToken{}, fmt.Errorf("%w: there is no such token", auth.ErrCredentials)
	case err != nil:
		return rows.AuthToken{}, unavailable("reading a token", err)
	}
	return row, nil
}

// tokenByCredential returns the row whose id follows prefix in an Identity.Credential.
//
// Errors: auth.ErrNotMine if it has another prefix; auth.ErrCredentials; auth.ErrUnavailable.
func tokenByCredential(ctx context.Context, db *rows.DB, credential, prefix string) (rows.AuthToken, error) {
	number, ok := strings.CutPrefix(credential, prefix)
	if !ok {
		return rows.AuthToken{}, auth.ErrNotMine
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return rows.AuthToken{}, fmt.Errorf("%w: %q is no credential", auth.ErrCredentials, credential)
	}
	row, err := db.AuthTokenByID(ctx, n)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return rows.AuthToken{}, fmt.Errorf("%w: %s is gone", auth.ErrCredentials, credential)
	case err != nil:
		return rows.AuthToken{}, unavailable("reading "+credential, err)
	}
	return row, nil
}

// parseNetworks parses the networks that a token may be used from. A faulty one is an error, since
// an empty list means that there is no restriction.
func parseNetworks(cidrs []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, cidr := range cidrs {
		network, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, err
		}
		list = append(list, network)
	}
	return list, nil
}

// useRecorder records when tokens were last used, to the hour.
type useRecorder struct {
	rows     *rows.DB
	recorded *lru.Cache[int64, int64] // token id to the hour last recorded, or tried
	log      *slog.Logger
}

// record records the use of a token, at most once an hour. If that fails the login succeeds all the
// same.
func (u *useRecorder) record(ctx context.Context, row rows.AuthToken, now time.Time) {
	hour := now.Truncate(time.Hour).UnixMicro()
	if row.UsedAt >= hour {
		return
	}
	if last, ok := u.recorded.Get(row.ID); ok && last >= hour {
		return
	}
	u.recorded.Add(row.ID, hour)
	err := u.rows.Tx(context.WithoutCancel(ctx), func(tx *rows.Tx) error { return tx.TouchAuthToken(row.ID, hour) })
	if err != nil {
		u.log.Warn("the use of a token was not recorded", "token", row.ID, "error", err)
	}
}

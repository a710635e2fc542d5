package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Version counts the changes of users, robots, tokens and signing keys by any process. Data that
// was read at a version is valid while that version is the current one.
type Version int64

// Credentials are a name and a secret as a client sent them, with the client's address.
type Credentials struct {
	Name, Secret string
	From         netip.Addr
}

// String returns a description without the secret.
func (c Credentials) String() string { return fmt.Sprintf("credentials of %q", c.Name) }

// GoString returns a description without the secret.
func (c Credentials) GoString() string { return c.String() }

// Source is one method of authentication. Implementations are safe for concurrent use.
type Source interface {
	// Name returns the name of the source for logs: "password", "token", "oidc".
	Name() string

	// Authenticate returns the identity that c belongs to.
	//
	// Errors: ErrNotMine if c is not a kind of credential that this source handles, so that the
	// next source is asked; ErrCredentials; *TooManyError; ErrUnavailable.
	Authenticate(ctx context.Context, c Credentials) (Identity, error)

	// Current returns the present state of an identity that this source authenticated: its groups
	// and scope may have changed.
	//
	// Errors: ErrNotMine; ErrCredentials if the account or the credential was removed, disabled or
	// changed; ErrExpired, together with the identity, if the credential has expired and is valid
	// otherwise; ErrUnavailable.
	Current(ctx context.Context, id Identity) (Identity, error)
}

// ErrNotMine means that a credential or an identity is for another source.
var ErrNotMine = errors.New("not a credential of this source")

// Issuer is an OIDC issuer whose id_tokens authenticate CI jobs. Issuers come from the
// configuration only, never from a token.
type Issuer struct {
	Name      string              // in rules: "oidc:github"
	URL       string              // the value of the claim iss; https
	Audiences []string            // accepted audiences; never empty
	Match     map[string][]string // claims that every token must have: see MatchClaims
	Identity  string              // template of the identity's name, with {claims.NAME} placeholders
	Keys      string              // URL of the JSON Web Key Set; "": from the discovery document, on the host of URL
	CA        string              // PEM file of the trusted certificates; "" for those of the system
}

// MatchClaims reports whether every wanted claim has a value that matches one of its patterns (see
// matchWildcard). If a claim is a list, one matching value is enough.
func MatchClaims(want, have map[string][]string) bool {
	for claim, patterns := range want {
		if !MatchClaim(patterns, have[claim]) {
			return false
		}
	}
	return true
}

// MatchClaim reports whether some pattern matches some value of a claim. A missing claim has no
// values. It does not allocate.
func MatchClaim(patterns, values []string) bool {
	for _, value := range values {
		for _, pattern := range patterns {
			if matchWildcard(pattern, value) {
				return true
			}
		}
	}
	return false
}

const maxAccountName = 128

// reservedNames are names that have a meaning where the name of an account is expected.
var reservedNames = []string{"_token", "anonymous", "authenticated", "oidc", "robot", "user", "group", "cert"}

// CheckAccountName returns nil if name is valid for a new user or robot. A name must not be
// mistaken for another kind of identity in a login, a rule or a log.
func CheckAccountName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case name == "" || len(name) > maxAccountName:
		return fmt.Errorf("a name has 1 to %d characters", maxAccountName)
	case strings.Trim(name, letters+".-_@") != "":
		return fmt.Errorf("the name %q may have letters, digits and . - _ @ only", name)
	case !strings.ContainsAny(name[:1], letters):
		return fmt.Errorf("the name %q must begin with a letter or a digit", name)
	case slices.Contains(reservedNames, strings.ToLower(name)):
		return fmt.Errorf("the name %q is reserved", name)
	}
	return nil
}

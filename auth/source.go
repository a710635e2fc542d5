package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Version counts the changes of users, robots, tokens and signing keys, by
// whatever process: what was read at one holds as long as it is the current one.
type Version int64

// Credentials are a name and a secret, as a client shows them, and the address
// that they come from.
type Credentials struct {
	Name, Secret string
	From         netip.Addr
}

// String does not show the secret.
func (c Credentials) String() string { return fmt.Sprintf("credentials of %q", c.Name) }

// GoString does not either.
func (c Credentials) GoString() string { return c.String() }

// Source is one way to prove who one is. Implementations are safe for concurrent use.
type Source interface {
	// Name is for logs: "password", "token", "oidc".
	Name() string

	// Authenticate proves who shows c.
	// Errors: ErrNotMine when c is not this source's kind of credential, and the
	// next source is to be asked; ErrCredentials; *TooManyError; ErrUnavailable.
	Authenticate(ctx context.Context, c Credentials) (Identity, error)

	// Current returns what an identity that this source made is now: its groups and scope may have
	// changed.
	// Errors: ErrNotMine; ErrCredentials when the account or the credential is gone, disabled or
	// changed; ErrExpired, with the identity, when the credential has ended and nothing else is wrong;
	// ErrUnavailable.
	Current(ctx context.Context, id Identity) (Identity, error)
}

// ErrNotMine says that a source leaves a credential or an identity to others.
var ErrNotMine = errors.New("not a credential of this source")

// Issuer is an OIDC issuer whose identity tokens prove that a CI job is what it
// says. Each is a part of the configuration; none is ever learnt from a token.
type Issuer struct {
	Name      string              // in rules: "oidc:github"
	URL       string              // as in the claim iss; https
	Audiences []string            // one of which the token must be for; never empty
	Match     map[string][]string // claims without which nobody is let in: see MatchClaims
	Identity  string              // the name of an identity, with {claims.x} in it
	CA        string              // file of certificates (PEM) to trust instead of the system's; "" for those
}

// MatchClaims reports whether each wanted claim is there with a value that one of
// its patterns matches (see MatchWord). Of a claim that is a list any value may.
func MatchClaims(want, have map[string][]string) bool {
	for claim, patterns := range want {
		if !MatchClaim(patterns, have[claim]) {
			return false
		}
	}
	return true
}

// MatchClaim reports whether some pattern matches some value of a claim, which has
// none where it is missing. It allocates nothing.
func MatchClaim(patterns, values []string) bool {
	for _, value := range values {
		for _, pattern := range patterns {
			if MatchWord(pattern, value) {
				return true
			}
		}
	}
	return false
}

const maxAccountName = 128

// reserved are words that mean something where a name stands.
var reserved = []string{"_token", "anonymous", "authenticated", "oidc", "robot", "user", "group", "cert"}

// CheckAccountName says what is wrong with the name of a new user or robot: it
// must not be mistaken for another kind of identity in a login, a rule or a log.
func CheckAccountName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case name == "" || len(name) > maxAccountName:
		return fmt.Errorf("a name has 1 to %d characters", maxAccountName)
	case strings.Trim(name, letters+".-_@") != "":
		return fmt.Errorf("the name %q may have letters, digits and . - _ @ only", name)
	case !strings.ContainsAny(name[:1], letters):
		return fmt.Errorf("the name %q must begin with a letter or a digit", name)
	case slices.Contains(reserved, strings.ToLower(name)):
		return fmt.Errorf("the name %q is reserved", name)
	}
	return nil
}

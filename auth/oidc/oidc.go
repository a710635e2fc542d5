// Package oidc takes the identity tokens (id_tokens) of CI services such as GitHub
// Actions and GitLab: a job proves which repository and branch it runs for, and no
// secret is stored anywhere.
//
// Issuers come from the configuration alone, and none is ever asked because of what
// a token says of itself: a token of an unknown issuer, for another audience or out
// of its time is refused before any request goes out. What does go out is bounded
// for each issuer in size, time and number, and stays on its host (see remote).
package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/auth"
)

// loginName is the user name with which a client shows an id_token as its password.
const loginName = "oidc"

// Options of a Source.
type Options struct {
	Issuers func() []auth.Issuer // those configured now
	Now     func() time.Time     // nil: time.Now
	Log     *slog.Logger         // nil: none
}

// Source proves CI identities. It implements auth.Source.
type Source struct {
	o Options

	mu      sync.Mutex
	remotes map[place]*remote // of issuers that are configured
}

// place is where the keys of an issuer come from.
type place struct{ url, ca string }

// New returns a source that has not asked any issuer yet.
func New(o Options) *Source {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{o: o, remotes: make(map[place]*remote)}
}

// IDToken is what an id_token proves.
type IDToken struct {
	Identity auth.Identity
	ID       string // the same for two tokens of an issuer only if they are one: its jti
	Expires  time.Time
}

// Name returns "oidc".
func (s *Source) Name() string { return "oidc" }

// Authenticate takes the user name "oidc" with an id_token as the secret.
// Errors: those of auth.Source, but *auth.TooManyError.
func (s *Source) Authenticate(ctx context.Context, c auth.Credentials) (auth.Identity, error) {
	if c.Name != loginName || strings.Count(c.Secret, ".") != 2 {
		return auth.Identity{}, auth.ErrNotMine
	}
	t, err := s.Verify(ctx, c.Secret)
	return t.Identity, err
}

// Verify says what an id_token proves.
// Errors: auth.ErrCredentials, wrapped with the reason, which is for the log and
// holds nothing of the token but names; auth.ErrUnavailable where the issuer's keys
// cannot be had.
func (s *Source) Verify(ctx context.Context, idToken string) (IDToken, error) {
	t, err := s.verify(ctx, idToken)
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, auth.ErrUnavailable):
		return IDToken{}, err
	}
	return IDToken{}, fmt.Errorf("%w: id_token: %w", auth.ErrCredentials, brief(err))
}

// Current lets an identity be as long as its issuer is configured, by the URL that it
// had, what the issuer demands of claims holds, and its token, where the identity says
// when that ends, has not ended.
func (s *Source) Current(_ context.Context, id auth.Identity) (auth.Identity, error) {
	if id.Kind != auth.CI {
		return auth.Identity{}, auth.ErrNotMine
	}
	for _, is := range s.o.Issuers() {
		if is.Name != id.Issuer {
			continue
		}
		subject := id.Claims["sub"]
		switch {
		case len(subject) != 1 || id.ID != identityID(is, subject[0]):
			return auth.Identity{}, fmt.Errorf("%w: not of the issuer that is called %s now", auth.ErrCredentials, is.Name)
		case !auth.MatchClaims(is.Match, id.Claims):
			return auth.Identity{}, fmt.Errorf("%w: the claims are not what issuer %s must have", auth.ErrCredentials, is.Name)
		case !id.Expires.IsZero() && !s.o.Now().Before(id.Expires):
			return id, fmt.Errorf("%w: the id_token", auth.ErrExpired)
		}
		return id, nil
	}
	return auth.Identity{}, fmt.Errorf("%w: issuer %q is not configured", auth.ErrCredentials, id.Issuer)
}

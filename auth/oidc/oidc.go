// Package oidc verifies the id_tokens of CI services such as GitHub Actions and GitLab. With an
// id_token a job proves which repository and branch it runs for, so no secret has to be stored.
//
// Issuers come from the configuration only. A token can never cause a request to an issuer that it
// names itself: a token from an unknown issuer, for another audience or outside its period of
// validity is rejected before any request. Requests to an issuer are limited in size, time and
// number, and stay on its host, or on that of the keys that the configuration names (see
// issuerKeys).
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

// loginName is the user name with which a client sends an id_token as its password.
const loginName = "oidc"

// Options are the options of a Source.
type Options struct {
	Issuers func() []auth.Issuer // returns the currently configured issuers
	Now     func() time.Time     // nil: time.Now
	Log     *slog.Logger         // nil: no log
}

// Source authenticates CI jobs. It implements auth.Source.
type Source struct {
	o Options

	mu   sync.Mutex
	keys map[keySource]*issuerKeys // of configured issuers
}

// keySource is where an issuer's keys come from: the URL of the issuer, that of its keys if the
// configuration names it, and the certificates to trust.
type keySource struct{ url, keys, ca string }

func sourceOf(issuer auth.Issuer) keySource { return keySource{issuer.URL, issuer.Keys, issuer.CA} }

// New returns a Source. It does not contact any issuer yet.
func New(o Options) *Source {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{o: o, keys: make(map[keySource]*issuerKeys)}
}

// IDToken is a verified id_token.
type IDToken struct {
	Identity auth.Identity
	ID       string // unique among the issuer's tokens: the jti, or a hash
	Expires  time.Time
}

// Name returns "oidc".
func (s *Source) Name() string { return "oidc" }

// Authenticate accepts the user name "oidc" with an id_token as the secret.
//
// Errors: those of auth.Source, except *auth.TooManyError; auth.ErrMisconfigured.
func (s *Source) Authenticate(ctx context.Context, c auth.Credentials) (auth.Identity, error) {
	if c.Name != loginName || strings.Count(c.Secret, ".") != 2 {
		return auth.Identity{}, auth.ErrNotMine
	}
	t, err := s.Verify(ctx, c.Secret)
	return t.Identity, err
}

// Verify verifies an id_token.
//
// Errors: auth.ErrCredentials, wrapped with the reason, which is for the log and contains no more
// of the token than names; auth.ErrUnavailable if the issuer's keys cannot be fetched;
// auth.ErrMisconfigured if they never can.
func (s *Source) Verify(ctx context.Context, idToken string) (IDToken, error) {
	t, err := s.verify(ctx, idToken)
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, auth.ErrUnavailable), errors.Is(err, auth.ErrMisconfigured):
		return IDToken{}, err
	}
	return IDToken{}, fmt.Errorf("%w: id_token: %w", auth.ErrCredentials, shorten(err))
}

// Current returns id unchanged, as long as an issuer with the same name and URL is configured, the
// claims still match what that issuer requires, and the token has not expired. An identity without
// Expires does not expire.
func (s *Source) Current(_ context.Context, id auth.Identity) (auth.Identity, error) {
	if id.Kind != auth.CI {
		return auth.Identity{}, auth.ErrNotMine
	}
	for _, issuer := range s.o.Issuers() {
		if issuer.Name != id.Issuer {
			continue
		}
		subject := id.Claims["sub"]
		switch {
		case len(subject) != 1 || id.ID != identityID(issuer, subject[0]):
			return auth.Identity{}, fmt.Errorf("%w: not of the issuer that is called %s now", auth.ErrCredentials, issuer.Name)
		case !auth.MatchClaims(issuer.Match, id.Claims):
			return auth.Identity{}, fmt.Errorf("%w: the claims are not what issuer %s must have", auth.ErrCredentials, issuer.Name)
		case !id.Expires.IsZero() && !s.o.Now().Before(id.Expires):
			return id, fmt.Errorf("%w: the id_token", auth.ErrExpired)
		}
		return id, nil
	}
	return auth.Identity{}, fmt.Errorf("%w: issuer %q is not configured", auth.ErrCredentials, id.Issuer)
}

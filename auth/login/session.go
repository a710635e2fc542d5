package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/oidc"
	"github.com/berth-registry/berth/auth/rows"
)

const (
	bySession   = "session:" // begins the Credential of who showed the secret of one
	sessionName = "oidc"     // the user name that sessions go with, beside "_token"

	// rememberFor is how long after its end an id_token is remembered as used, which
	// is longer than any clock is trusted to be wrong.
	rememberFor = time.Hour
	// forgetAtOnce is how many expired rows a new session clears away.
	forgetAtOnce = 100
)

// Session is what a CI job gets for its id_token: a secret to log in with until it expires.
type Session struct {
	Secret   string
	Identity auth.Identity
	Expires  time.Time
}

// String does not show the secret.
func (s Session) String() string { return s.Identity.Credential }

// GoString does not either.
func (s Session) GoString() string { return s.String() }

// Exchange makes a session for what an id_token proves, which lasts for ttl, or for
// Options.SessionTTL if that is shorter or ttl is 0. An id_token can be exchanged once.
// Errors: auth.ErrCredentials, perhaps with a reason that is for the log only;
// *auth.TooManyError; auth.ErrUnavailable.
func (s *Service) Exchange(ctx context.Context, idToken string, from netip.Addr, ttl time.Duration) (Session, error) {
	if s.ids == nil || len(idToken) > maxSecret {
		return Session{}, s.guard.missed(from)
	}
	session, err := s.exchange(ctx, idToken, ttl)
	if errors.Is(err, auth.ErrCredentials) {
		return Session{}, s.guard.refused(auth.Credentials{Name: sessionName, Secret: idToken, From: from}, err)
	}
	return session, err
}

func (s *Service) exchange(ctx context.Context, idToken string, ttl time.Duration) (Session, error) {
	proved, err := s.ids.Verify(ctx, idToken)
	if err != nil {
		return Session{}, err
	}
	now := s.now()
	if ttl <= 0 || ttl > s.sessionTTL {
		ttl = s.sessionTTL
	}
	identity, err := encodeIdentity(proved.Identity)
	if err != nil {
		return Session{}, err
	}
	secret, hash := NewSecret(SessionToken)
	row := rows.AuthToken{
		Kind: string(SessionToken), Name: proved.Identity.Name, Hash: hash, Identity: identity,
		CreatedAt: now.UnixMicro(), ExpiresAt: now.Add(ttl).UnixMicro(),
	}
	if row.ID, err = s.createSession(ctx, row, proved); err != nil {
		return Session{}, err
	}
	id, err := sessionIdentity(row)
	return Session{Secret: secret, Identity: id, Expires: id.Expires}, err
}

// createSession makes the row of a session, if its id_token was not exchanged before.
func (s *Service) createSession(ctx context.Context, row rows.AuthToken, proved oidc.IDToken) (id int64, err error) {
	err = s.rows.Tx(ctx, func(tx *rows.Tx) error {
		if err := tx.DeleteExpired(row.CreatedAt, forgetAtOnce); err != nil {
			return err
		}
		if err := tx.UseIDToken(proved.Identity.Issuer, proved.ID, proved.Expires.Add(rememberFor).UnixMicro()); err != nil {
			return err
		}
		id, err = tx.CreateAuthToken(row)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return 0, fmt.Errorf("%w: this id_token was exchanged before", auth.ErrCredentials)
	case err != nil:
		return 0, unavailable("recording a session", err)
	}
	return id, nil
}

// sessions proves CI jobs by the sessions that they got for their id_tokens.
type sessions struct {
	rows *rows.DB
	ci   auth.Source // nil: no session holds
	now  func() time.Time
	uses *uses
}

// Name returns "session".
func (s *sessions) Name() string { return "session" }

// Authenticate takes the secret of a session with the user name "oidc" or "_token".
func (s *sessions) Authenticate(ctx context.Context, c auth.Credentials) (auth.Identity, error) {
	row, err := findToken(ctx, s.rows, c.Secret, SessionToken)
	if err != nil {
		return auth.Identity{}, err
	}
	if c.Name != sessionName && c.Name != anyToken {
		return auth.Identity{}, fmt.Errorf("%w: a session's user name is %s or %s", auth.ErrCredentials, sessionName, anyToken)
	}
	id, err := s.identity(ctx, row)
	if err != nil {
		return auth.Identity{}, err
	}
	s.uses.note(ctx, row, s.now())
	return id, nil
}

// Current reads the session again, and asks what its issuer demands now.
func (s *sessions) Current(ctx context.Context, id auth.Identity) (auth.Identity, error) {
	row, err := readToken(ctx, s.rows, id.Credential, bySession)
	if err != nil {
		return auth.Identity{}, err
	}
	now, err := s.identity(ctx, row)
	if err != nil && !errors.Is(err, auth.ErrExpired) {
		return auth.Identity{}, err
	}
	if now.Owner() != id.Owner() {
		return auth.Identity{}, fmt.Errorf("%w: %s is another's", auth.ErrCredentials, id.Credential)
	}
	return now, err
}

// identity is what the holder of a session is now, also with auth.ErrExpired.
func (s *sessions) identity(ctx context.Context, row rows.AuthToken) (auth.Identity, error) {
	id, err := sessionIdentity(row)
	switch {
	case err != nil:
		return auth.Identity{}, unavailable(fmt.Sprintf("reading session %d", row.ID), err)
	case s.ci == nil:
		return auth.Identity{}, fmt.Errorf("%w: no issuer is configured", auth.ErrCredentials)
	}
	now, err := s.ci.Current(ctx, id)
	if err == nil && expired(id.Expires, s.now()) {
		err = fmt.Errorf("%w: %s", auth.ErrExpired, id.Credential)
	}
	return now, err
}

// sessionIdentity is the identity of a session's row.
func sessionIdentity(row rows.AuthToken) (auth.Identity, error) {
	id, err := decodeIdentity(row.Identity)
	id.Credential, id.Expires = bySession+strconv.FormatInt(row.ID, 10), time.UnixMicro(row.ExpiresAt)
	return id, err
}

// storedIdentity is the identity of a CI job in a row.
type storedIdentity struct {
	Name   string              `json:"name"`
	ID     string              `json:"id"`
	Issuer string              `json:"issuer"`
	Groups []string            `json:"groups,omitempty"`
	Claims map[string][]string `json:"claims"`
}

func encodeIdentity(id auth.Identity) (string, error) {
	if id.Kind != auth.CI {
		return "", fmt.Errorf("a session of %s, which is no CI job", id.Subject())
	}
	text, err := json.Marshal(storedIdentity{Name: id.Name, ID: id.ID, Issuer: id.Issuer, Groups: id.Groups, Claims: id.Claims})
	return string(text), err
}

func decodeIdentity(text string) (auth.Identity, error) {
	var s storedIdentity
	err := json.Unmarshal([]byte(text), &s)
	return auth.Identity{Kind: auth.CI, Name: s.Name, ID: s.ID, Issuer: s.Issuer, Groups: s.Groups, Claims: s.Claims}, err
}

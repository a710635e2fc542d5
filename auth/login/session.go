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
	sessionCredential = "session:" // prefix of Identity.Credential; the id of the session follows
	sessionUserName   = "oidc"     // user name for the secret of a session, like "_token"

	// idTokenRetention is how long after its end an id token is remembered as used. It exceeds any
	// acceptable error of a clock.
	idTokenRetention = time.Hour
	// maxForget is the number of expired rows that one Exchange removes at most.
	maxForget = 100
)

// Session is a login session of a CI job: a secret to log in with until it expires.
type Session struct {
	Secret   string
	Identity auth.Identity
	Expires  time.Time
}

// String returns a text without the secret.
func (s Session) String() string { return s.Identity.Credential }

// GoString returns a text without the secret.
func (s Session) GoString() string { return s.String() }

// Exchange makes a login session for the CI job that an id token proves. The session lasts for ttl,
// or for Options.SessionTTL if that is shorter or ttl is 0. An id token can be exchanged once.
//
// Errors: auth.ErrCredentials, perhaps with a reason that is only for the log; *auth.TooManyError;
// auth.ErrUnavailable.
func (s *Service) Exchange(ctx context.Context, idToken string, from netip.Addr, ttl time.Duration) (Session, error) {
	if s.idTokens == nil || len(idToken) > maxSecret {
		return Session{}, s.guard.refuse(from)
	}
	session, err := s.exchange(ctx, idToken, ttl)
	if errors.Is(err, auth.ErrCredentials) {
		return Session{}, s.guard.refuseRepeated(auth.Credentials{Name: sessionUserName, Secret: idToken, From: from}, err)
	}
	return session, err
}

func (s *Service) exchange(ctx context.Context, idToken string, ttl time.Duration) (Session, error) {
	proved, err := s.idTokens.Verify(ctx, idToken)
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

// createSession creates the row of a session, unless its id token was exchanged before.
func (s *Service) createSession(ctx context.Context, row rows.AuthToken, proved oidc.IDToken) (id int64, err error) {
	err = s.rows.Tx(ctx, func(tx *rows.Tx) error {
		if err := tx.DeleteExpired(row.CreatedAt, maxForget); err != nil {
			return err
		}
		until := proved.Expires.Add(idTokenRetention).UnixMicro()
		if err := tx.UseIDToken(proved.Identity.Issuer, proved.ID, until); err != nil {
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

// sessionSource is the auth.Source of CI jobs with login sessions.
type sessionSource struct {
	rows     *rows.DB
	ci       auth.Source // nil: every session is refused
	now      func() time.Time
	recorder *useRecorder
}

// Name returns "session".
func (s *sessionSource) Name() string { return "session" }

// Authenticate accepts the secret of a session with the user name "oidc" or "_token".
func (s *sessionSource) Authenticate(ctx context.Context, c auth.Credentials) (auth.Identity, error) {
	row, err := tokenBySecret(ctx, s.rows, c.Secret, SessionToken)
	if err != nil {
		return auth.Identity{}, err
	}
	if c.Name != sessionUserName && c.Name != tokenUserName {
		return auth.Identity{}, fmt.Errorf("%w: a session's user name is %s or %s", auth.ErrCredentials, sessionUserName, tokenUserName)
	}
	id, err := s.identity(ctx, row)
	if err != nil {
		return auth.Identity{}, err
	}
	s.recorder.record(ctx, row, s.now())
	return id, nil
}

// Current reads the session again, and has its issuer's rules checked as they are now.
func (s *sessionSource) Current(ctx context.Context, id auth.Identity) (auth.Identity, error) {
	row, err := tokenByCredential(ctx, s.rows, id.Credential, sessionCredential)
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

// identity returns the current identity of a session's holder. It also does so with
// auth.ErrExpired.
func (s *sessionSource) identity(ctx context.Context, row rows.AuthToken) (auth.Identity, error) {
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

// sessionIdentity returns the identity that is stored in a session's row.
func sessionIdentity(row rows.AuthToken) (auth.Identity, error) {
	id, err := decodeIdentity(row.Identity)
	id.Credential, id.Expires = sessionCredential+strconv.FormatInt(row.ID, 10), time.UnixMicro(row.ExpiresAt)
	return id, err
}

// storedIdentity is the JSON form of a CI job's identity in a row.
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

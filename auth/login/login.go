// Package login authenticates callers: users with passwords, from rows and htpasswd files, and the
// holders of personal, robot and session tokens. CI jobs it leaves to the source that it is given.
//
// What it guarantees: neither its answer, nor the work for an answer, tells whether a name exists.
// Attempts are counted for their address, never for the user that they name. A valid token, or a
// password that was right from there a moment ago, is accepted from an address that is out of
// attempts. Changes of accounts and tokens by any process are seen by the next Current.
package login

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/oidc"
	"github.com/berth-registry/berth/auth/rows"
)

const (
	defaultSessionTTL = time.Hour

	// maxName and maxSecret bound what is looked at, in bytes. An id_token has some 3 KiB.
	maxName   = 256
	maxSecret = 16 << 10

	// maxCurrent is how many identities Current remembers.
	maxCached = 8192
)

// Options configure New.
type Options struct {
	Rows     *rows.DB
	Htpasswd []string // files of further users

	// CI proves the identities of CI jobs, and CITokens what they exchange for
	// sessions. nil: there are none.
	CI       auth.Source
	CITokens IDTokens
	// SessionTTL is how long a session lasts at most: up to 6 hours. 0 means one.
	SessionTTL time.Duration

	// BcryptRuns is how many passwords are checked at once; 0 means half the processors.
	BcryptRuns int
	// Compare is nil unless the hash is right for the password; nil means bcrypt's. Tests count by
	// it.
	Compare func(hash, password []byte) error

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none
}

// IDTokens verifies id_tokens.
type IDTokens interface {
	Verify(ctx context.Context, idToken string) (oidc.IDToken, error)
}

// Service authenticates callers. It is safe for concurrent use.
type Service struct {
	rows         *rows.DB
	files        *htpasswdFiles
	tokenSources []auth.Source // which are asked before the passwords
	passwords    *passwordSource
	idTokens     IDTokens
	sessionTTL   time.Duration
	guard        *guard
	cache        *lru.Cache[identityKey, cachedIdentity]
	now          func() time.Time
}

// credential is what Current knows an identity by.
type identityKey struct {
	kind                        auth.Kind
	name, id, credential, stamp string
}

// known is what an identity was at a version of the rows and the files.
type cachedIdentity struct {
	at versions
	id auth.Identity
}

type versions struct {
	rows  auth.Version
	files uint64
}

// New returns a service. It reads the htpasswd files, whose line its error names where one is not
// right, and no rows yet.
func New(_ context.Context, o Options) (*Service, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	files, err := openHtpasswd(o.Htpasswd, o.Log)
	if err != nil {
		return nil, err
	}
	guard, err := newGuard(o.Now)
	if err != nil {
		return nil, err
	}
	cache, err := lru.New[identityKey, cachedIdentity](maxCached)
	if err != nil {
		return nil, err
	}
	recorded, err := lru.New[int64, int64](maxCached)
	if err != nil {
		return nil, err
	}
	s := &Service{
		rows: o.Rows, files: files, idTokens: o.CITokens, sessionTTL: o.SessionTTL, guard: guard, cache: cache, now: o.Now,
		passwords: newPasswordSource(o, files, guard),
	}
	recorder := &useRecorder{rows: o.Rows, recorded: recorded, log: o.Log}
	s.tokenSources = append(s.tokenSources, &tokenSource{rows: o.Rows, now: o.Now, recorder: recorder}, &sessionSource{rows: o.Rows, ci: o.CI, now: o.Now, recorder: recorder})
	if o.CI != nil {
		s.tokenSources = append(s.tokenSources, o.CI)
	}
	return s, nil
}

// complete checks the options and fills in what was left out.
func (o *Options) complete() error {
	if o.SessionTTL == 0 {
		o.SessionTTL = defaultSessionTTL
	}
	if err := auth.CheckSessionTTL(o.SessionTTL); err != nil {
		return fmt.Errorf("a session's lifetime of %v is not %w", o.SessionTTL, err)
	}
	if o.BcryptRuns <= 0 {
		o.BcryptRuns = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if o.Compare == nil {
		o.Compare = compareBcrypt
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Version returns the version of the accounts and tokens. It is read once for each request.
// Errors: auth.ErrUnavailable.
func (s *Service) Version(ctx context.Context) (auth.Version, error) {
	v, err := s.rows.AuthVersion(ctx)
	if err != nil {
		return 0, unavailable("reading the version of the accounts", err)
	}
	return auth.Version(v), nil
}

// Reload reads the htpasswd files again. Its error names the line that is not right;
// then all of them stay in force as they were.
func (s *Service) Reload() error { return s.files.reload() }

// Login returns the identity that c belongs to.
// Errors: auth.ErrCredentials, perhaps with a reason that is for the log only;
// *auth.TooManyError; auth.ErrUnavailable.
func (s *Service) Login(ctx context.Context, c auth.Credentials) (auth.Identity, error) {
	if len(c.Name) > maxName || len(c.Secret) > maxSecret {
		return auth.Identity{}, s.guard.refuse(c.From)
	}
	for _, source := range s.tokenSources {
		id, err := source.Authenticate(ctx, c)
		switch {
		case err == nil:
			return id, nil
		case errors.Is(err, auth.ErrCredentials):
			return auth.Identity{}, s.guard.refuseRepeated(c, err)
		case !errors.Is(err, auth.ErrNotMine):
			return auth.Identity{}, err
		}
	}
	id, err := s.passwords.Authenticate(ctx, c)
	if errors.Is(err, auth.ErrNotMine) {
		return auth.Identity{}, s.guard.refuseRepeated(c, auth.ErrCredentials)
	}
	return id, err
}

// Knows reports whether credentials may come with this user name: that of a user or robot that
// exists, or one that all tokens go with. It is for the log alone: no client may learn it.
func (s *Service) KnowsUserName(ctx context.Context, name string) bool {
	if name == tokenUserName || name == sessionUserName {
		return true
	}
	if kind, robot := ParseUserName(name); kind == auth.Robot {
		_, err := s.rows.Account(ctx, string(kind), robot)
		return err == nil
	}
	u, err := s.passwords.find(ctx, name)
	return err == nil && u.hash != ""
}

// Current returns what an identity, proved before, is at version v. Errors: auth.ErrCredentials
// when account or credential is gone, disabled or changed, perhaps with a reason that is for the
// log only; auth.ErrExpired, with the identity, when the credential has ended and nothing else is
// wrong; auth.ErrUnavailable.
func (s *Service) Current(ctx context.Context, id auth.Identity, v auth.Version) (auth.Identity, error) {
	if id.Kind == auth.Anonymous {
		return id, nil
	}
	key := identityKey{id.Kind, id.Name, id.ID, id.Credential, id.Stamp}
	at := versions{v, s.files.generation()}
	if k, ok := s.cache.Get(key); ok && k.at == at && !expired(k.id.Expires, s.now()) {
		return k.id, nil
	}
	now, err := s.recheck(ctx, id)
	if err != nil {
		return now, err
	}
	if id.Kind != auth.CI { // of which rows are not the whole truth
		s.cache.Add(key, cachedIdentity{at, now})
	}
	return now, nil
}

// ask asks the source that an identity is from.
func (s *Service) recheck(ctx context.Context, id auth.Identity) (auth.Identity, error) {
	for _, source := range append(s.tokenSources[:len(s.tokenSources):len(s.tokenSources)], s.passwords) {
		now, err := source.Current(ctx, id)
		if !errors.Is(err, auth.ErrNotMine) {
			return now, err
		}
	}
	return auth.Identity{}, fmt.Errorf("%w: no source knows %s proved by %q", auth.ErrCredentials, id.Subject(), id.Credential)
}

// expired reports whether a credential has ended. The zero time means never.
func expired(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// unavailable returns the error for rows that cannot be read. It says nothing about a credential.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", auth.ErrUnavailable, doing, err)
}

// shortHash tells hashes apart and gives none away.
func hashStamp(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return fmt.Sprintf("%x", sum[:8])
}

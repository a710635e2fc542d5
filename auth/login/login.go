// Package login authenticates callers: users by password, from the database and from htpasswd
// files, and holders of personal tokens, robot tokens and login sessions. The id tokens of CI jobs
// are verified by a source that it is given.
//
// Guarantees:
//
//   - Neither an answer nor the work for it discloses whether a user name exists.
//   - Failed attempts count against the network of the client, never against the user.
//   - A network that is out of attempts can still log in with a valid token, or with a password
//     that was verified from there a moment ago.
//   - A change of an account or token, by any process, is seen by Current with a version that was
//     read after it.
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

	// maxName and maxSecret limit the credentials that are looked at, in bytes. An id token has
	// about 3 KiB.
	maxName   = 256
	maxSecret = 16 << 10

	// maxCached is the number of identities that Current caches.
	maxCached = 8192
)

// Options configure New.
type Options struct {
	Rows     *rows.DB
	Htpasswd []string // paths of htpasswd files

	// CI authenticates CI jobs, and CITokens verifies the id tokens that Exchange takes. Both are
	// nil if no issuer is configured.
	CI       auth.Source
	CITokens IDTokens
	// SessionTTL is the longest lifetime of a login session: up to 6 hours. 0 means one hour.
	SessionTTL time.Duration

	// BcryptRuns is the number of bcrypt comparisons at once; 0 means half the number of
	// processors.
	BcryptRuns int
	// Compare returns nil if the password matches the hash. The default is bcrypt's comparison.
	// Tests replace it to count the calls.
	Compare func(hash, password []byte) error

	Now func() time.Time // nil means time.Now
	Log *slog.Logger     // nil means that nothing is logged
}

// IDTokens verifies the id tokens of CI jobs.
type IDTokens interface {
	Verify(ctx context.Context, idToken string) (oidc.IDToken, error)
}

// Service authenticates callers. It is safe for concurrent use.
type Service struct {
	rows         *rows.DB
	files        *htpasswdFiles
	tokenSources []auth.Source // asked in this order, before passwords
	passwords    *passwordSource
	idTokens     IDTokens
	sessionTTL   time.Duration
	guard        *guard
	cache        *lru.Cache[identityKey, cachedIdentity]
	now          func() time.Time
}

// identityKey is the key of an identity in the cache of Current.
type identityKey struct {
	kind                        auth.Kind
	name, id, credential, stamp string
}

// cachedIdentity is an identity, as it was at these versions.
type cachedIdentity struct {
	at versions
	id auth.Identity
}

// versions are the states of the database and of the htpasswd files.
type versions struct {
	rows  auth.Version
	files uint64
}

// New returns a Service. It reads the htpasswd files, and does not use the database yet. An error
// names the faulty lines of a file without any user who could log in. What else is wrong with the
// files is in Complaints.
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
	s.tokenSources = append(s.tokenSources,
		&tokenSource{rows: o.Rows, now: o.Now, recorder: recorder},
		&sessionSource{rows: o.Rows, ci: o.CI, now: o.Now, recorder: recorder})
	if o.CI != nil {
		s.tokenSources = append(s.tokenSources, o.CI)
	}
	return s, nil
}

// complete checks the options and sets defaults.
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

// Version returns the current version of the accounts and tokens. Callers read it once for each
// request.
//
// Errors: auth.ErrUnavailable.
func (s *Service) Version(ctx context.Context) (auth.Version, error) {
	v, err := s.rows.AuthVersion(ctx)
	if err != nil {
		return 0, unavailable("reading the version of the accounts", err)
	}
	return auth.Version(v), nil
}

// Reload reads the htpasswd files again. If one cannot be used, the users stay as they were, and
// the error says what is wrong.
func (s *Service) Reload() error { return s.files.reload() }

// Complaints returns what is wrong with the htpasswd files as they were read last: a sentence for
// each faulty line, whose user cannot log in, and a warning for each file with hashes of a low
// cost, or without users.
func (s *Service) Complaints() (faults, warnings []string) {
	u := s.files.users.Load()
	return u.faults, u.warnings
}

// Login returns the identity that the credentials prove.
//
// Errors: auth.ErrCredentials, perhaps with a reason that is only for the log; *auth.TooManyError;
// auth.ErrUnavailable.
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

// KnowsUserName reports whether name is the user name of an account, or one of those reserved for
// tokens. It is only for the log: no client may learn the result. Its work is the same for every
// name, so that no client can tell it by the time of an answer.
func (s *Service) KnowsUserName(ctx context.Context, name string) bool {
	kind, account := ParseUserName(name)
	_, inFile := s.files.find(name)
	inRows, err := s.rows.HasAccount(ctx, string(kind), account)
	return inFile || err == nil && inRows || name == tokenUserName || name == sessionUserName
}

// Current returns the identity as it is at version v. The argument was authenticated before.
//
// Errors: auth.ErrCredentials if the account or credential is gone, disabled or changed, perhaps
// with a reason that is only for the log; auth.ErrExpired, with the identity, if the credential has
// expired and is otherwise valid; auth.ErrUnavailable.
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
	if id.Kind != auth.CI { // which the configured issuers decide too
		s.cache.Add(key, cachedIdentity{at, now})
	}
	return now, nil
}

// recheck asks the source of an identity for its current state.
func (s *Service) recheck(ctx context.Context, id auth.Identity) (auth.Identity, error) {
	for _, source := range append(s.tokenSources[:len(s.tokenSources):len(s.tokenSources)], s.passwords) {
		now, err := source.Current(ctx, id)
		if !errors.Is(err, auth.ErrNotMine) {
			return now, err
		}
	}
	return auth.Identity{}, fmt.Errorf("%w: no source knows %s proved by %q", auth.ErrCredentials, id.Subject(), id.Credential)
}

// expired reports whether a credential has expired. The zero time means that it never does.
func expired(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// unavailable returns an auth.ErrUnavailable: the database could not be read, so the credential is
// neither accepted nor refused.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", auth.ErrUnavailable, doing, err)
}

// hashStamp returns a stamp that changes with the hash and does not disclose it.
func hashStamp(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return fmt.Sprintf("%x", sum[:8])
}

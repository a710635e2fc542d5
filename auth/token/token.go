// Package token signs and verifies Berth's own tokens: JWTs that name a caller and what was
// granted, and that other services can verify by the published keys.
//
// A token that Verify accepts was signed by a key of this registry that has not been revoked, for
// this issuer and this service, has exactly the form that Sign writes, and is valid now. The
// policy, or the account behind it, may have changed since: who serves a request asks those as
// well.
//
// Keys are rows, which every process of a registry shares, or a file that the
// operator mounts. Rows go from next, which is published and does not sign yet, to active, of which
// there is one, to retired, which verifies what it signed until that has ended.
package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
)

const (
	// Leeway is how far the clocks of those who sign and those who verify may differ.
	Leeway = time.Minute
	// MaxSize is the length of the longest token, in bytes.
	MaxSize = 16 << 10
)

const (
	// remembered is how many verified tokens are kept; longer ones than maxRemembered bytes
	// are not, so that all of them take a few MiB, and 32 at the very most.
	maxCached     = 4096
	maxCachedSize = 4 << 10
)

var (
	// ErrInvalid means that a token is none of ours, or no longer. What wraps it gives a
	// reason for the log, in which nothing of the token occurs.
	ErrInvalid = errors.New("invalid token")
	// ErrExpired means that a token was good until it ended, less than the upload grace ago.
	ErrExpired = errors.New("the token has expired")
	// ErrTooLarge means that so much was asked for that the token would exceed MaxSize.
	ErrTooLarge = errors.New("the token would be too large: ask for fewer scopes at once")
	// ErrKeyFile means that keys which come from a file are not changed by a command.
	ErrKeyFile = errors.New("the signing keys come from a file: put a new key before the others in it, and take out what is revoked")
)

// Options configure Open.
type Options struct {
	Rows    *rows.DB // where the keys are, unless KeyFile is set
	KeyFile string   // PKCS#8 PEM of P-256 keys: the first one signs, all verify; "" for rows
	Issuer  string   // claim iss
	Service string   // claim aud: what this registry calls itself
	TTL     time.Duration
	// UploadGrace is how long after its end a token still serves the upload that it opened.
	UploadGrace time.Duration
	RotateAfter time.Duration // the age at which a key is replaced; 0: never by age
	// X5C puts a certificate of the key into each token, as registries of
	// docker-distribution 2.x want it. Those of 3.x that read the JWKS refuse it.
	X5C bool
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: nothing is logged
}

// Issuer signs and verifies. It is safe for concurrent use.
type Issuer struct {
	options        Options
	lifecycle      lifecycle
	parser         *jwt.Parser    // form and signature
	validator      *jwt.Validator // the claims, as of now
	graceValidator *jwt.Validator // the same for a token within its grace

	readMu sync.Mutex // held while the keys are read
	keys   atomic.Pointer[keySet]
	cache  *lru.Cache[[32]byte, verifiedToken] // by SHA-256 of the token
}

// Open reads the keys and, where there are none among the rows, makes the first.
// Its error says which option, or what about the file, is wrong.
func Open(ctx context.Context, o Options) (*Issuer, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	cache, err := lru.New[[32]byte, verifiedToken](maxCached)
	if err != nil {
		return nil, err
	}
	i := &Issuer{
		options: o, lifecycle: o.lifecycle(), cache: cache,
		parser:         jwt.NewParser(jwt.WithValidMethods([]string{algorithm}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
		validator:      o.newValidator(Leeway),
		graceValidator: o.newValidator(max(Leeway, o.UploadGrace)),
	}
	i.keys.Store(&keySet{version: math.MinInt64})
	if err := errors.Join(i.Reload(), i.Maintain(ctx)); err != nil {
		return nil, err
	}
	return i, nil
}

// check completes the options, or returns what is wrong with them. Empty names would make
// the library leave out the comparison.
func (o *Options) complete() error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ttl := auth.CheckTokenTTL(o.TTL)
	switch {
	case o.Issuer == "":
		return errors.New("tokens need an issuer: it must not be empty")
	case o.Service == "":
		return errors.New("tokens need a service: it must not be empty")
	case ttl != nil:
		return fmt.Errorf("a token's lifetime of %v is not %w", o.TTL, ttl)
	case o.UploadGrace < 0:
		return fmt.Errorf("an upload grace of %v is negative", o.UploadGrace)
	case o.Rows == nil && o.KeyFile == "":
		return errors.New("signing keys need a database or a file")
	}
	return o.lifecycle().check()
}

// validator checks the claims that every token has. Whether there is an iat, and how the
// times lie to each other, the claims check themselves.
func (o *Options) newValidator(leeway time.Duration) *jwt.Validator {
	return jwt.NewValidator(jwt.WithIssuer(o.Issuer), jwt.WithAudience(o.Service), jwt.WithExpirationRequired(),
		jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(o.Now))
}

// Issuer is what tokens have as iss.
func (i *Issuer) Issuer() string { return i.options.Issuer }

// Service is what tokens have as aud.
func (i *Issuer) Service() string { return i.options.Service }

// at returns the keys as they are at version v, or newer. Errors are the database's.
func (i *Issuer) keysAt(ctx context.Context, v auth.Version) (*keySet, error) {
	if set := i.keys.Load(); set.version >= v {
		return set, nil
	}
	i.readMu.Lock()
	defer i.readMu.Unlock()
	old := i.keys.Load()
	if old.version >= v {
		return old, nil
	}
	set, err := readKeys(ctx, i.options.Rows, old)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	set.noteEnded(old, i.lifecycle, i.options.Now())
	i.keys.Store(set)
	return set, nil
}

// current returns the keys as they are now, also after changes by other processes.
func (i *Issuer) currentKeys(ctx context.Context) (*keySet, error) {
	if i.options.KeyFile != "" {
		return i.keys.Load(), nil
	}
	v, err := i.options.Rows.AuthVersion(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the version of the signing keys: %w", err)
	}
	return i.keysAt(ctx, auth.Version(v))
}

// Maintain lets keys go from next to active to retired, and removes retired ones, when their time
// has come. It is cheap while there is nothing to do, and to be called every minute or so.
func (i *Issuer) Maintain(ctx context.Context) error {
	set, err := i.currentKeys(ctx)
	if err != nil || i.options.KeyFile != "" || !i.lifecycle.due(set.infos(), i.options.Now()) {
		return err
	}
	var now time.Time
	err = i.options.Rows.Tx(ctx, func(tx *rows.Tx) error {
		now = i.options.Now() // after the lock
		return i.lifecycle.advance(tx, now)
	})
	if err != nil {
		return fmt.Errorf("rotating the signing keys: %w", err)
	}
	if set, err = i.currentKeys(ctx); err != nil {
		return err
	}
	for _, k := range set.usableKeys(i.lifecycle, now) {
		i.options.Log.Info("signing keys changed", "key", k.KID, "state", k.State)
	}
	return nil
}

// Reload reads the key file again. If it cannot be used the keys stay what they were, and
// the error says why. Without a file it does nothing.
func (i *Issuer) Reload() error {
	if i.options.KeyFile == "" {
		return nil
	}
	i.readMu.Lock()
	defer i.readMu.Unlock()
	set, err := readFile(i.options.KeyFile)
	if err != nil {
		return err
	}
	for _, m := range set.keys {
		if m.hasLeadingZero() {
			i.options.Log.Warn("registries of docker-distribution refuse tokens of a key whose x or y begins with a zero byte, as one in 128 does: make another one", "key", m.kid)
		}
	}
	i.keys.Store(set)
	return nil
}

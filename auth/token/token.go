// Package token signs and verifies Berth's own registry tokens: JWTs that name a caller and its
// access, and that other services can verify with the published keys.
//
// A token that Verify accepts was signed by a key of this registry that is not revoked, for this
// issuer and this service. It has exactly the form that Sign writes, and is valid now. The policy
// or the account may have changed since it was signed, so both are to be checked for each request.
//
// Keys are rows that all processes of a registry share, or a file that the operator mounts. The key
// of a row passes through these states:
//
//	next -----> active -----> retired -----> removed
//	published   signs; one    verifies the tokens that it signed
//	            at a time     until the last of them has ended
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
	// Leeway is the difference of clocks that is tolerated when times of a token are checked.
	Leeway = time.Minute
	// MaxSize is the largest size of a token, in bytes.
	MaxSize = 16 << 10
)

const (
	// maxCached is the number of verified tokens in the cache. Tokens of more than maxCachedSize
	// bytes are not cached: then the cache usually takes a few MiB, and 32 MiB at most.
	maxCached     = 4096
	maxCachedSize = 4 << 10
)

var (
	// ErrInvalid means that a token is not one of this registry, or no longer valid. The errors
	// that wrap it give a reason for the log, and contain nothing of the token.
	ErrInvalid = errors.New("invalid token")
	// ErrExpired means that a token was valid until its end, which is less than Options.UploadGrace
	// ago.
	ErrExpired = errors.New("the token has expired")
	// ErrTooLarge means that the requested access would make the token exceed MaxSize.
	ErrTooLarge = errors.New("the token would be too large: ask for fewer scopes at once")
	// ErrKeyFile means that the keys come from a file, so that commands cannot change them.
	ErrKeyFile = errors.New("the signing keys come from a file: put a new key before the others in it, and take out what is revoked")
)

// Options configure Open.
type Options struct {
	Rows    *rows.DB // the keys, unless KeyFile is set
	KeyFile string   // P-256 keys in PKCS#8 PEM: the first signs, all verify; "" for rows
	Issuer  string   // the claim iss
	Service string   // the claim aud: the name of this registry
	TTL     time.Duration
	// UploadGrace is how long after its end a token remains valid for an upload session that it
	// opened.
	UploadGrace time.Duration // 24 hours at most
	RotateAfter time.Duration // the age at which a key is replaced; 0 means never
	// X5C adds a certificate of the key to each token, which docker-distribution 2.x requires.
	// Version 3.x with a JWKS refuses such tokens.
	X5C bool
	Now func() time.Time // nil means time.Now
	Log *slog.Logger     // nil means that nothing is logged
}

// Issuer signs and verifies tokens. It is safe for concurrent use.
type Issuer struct {
	options        Options
	lifecycle      lifecycle
	parser         *jwt.Parser    // checks form and signature
	validator      *jwt.Validator // checks the claims at the current time
	graceValidator *jwt.Validator // the same, within the upload grace

	readMu sync.Mutex // held while keys are read
	keys   atomic.Pointer[keySet]
	cache  *lru.Cache[[32]byte, verifiedToken] // keyed by the SHA-256 of the token
}

// Open reads the keys. If there are no rows of keys it makes the first one. The error names the
// faulty option, or the fault of the file.
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

// complete sets defaults, and returns an error for invalid options. An empty Issuer or Service is
// one, because the JWT library skips the comparison with an empty string.
func (o *Options) complete() error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ttl, grace := auth.CheckTokenTTL(o.TTL), auth.CheckUploadGrace(o.UploadGrace)
	switch {
	case o.Issuer == "":
		return errors.New("tokens need an issuer: it must not be empty")
	case o.Service == "":
		return errors.New("tokens need a service: it must not be empty")
	case ttl != nil:
		return fmt.Errorf("a token's lifetime of %v is not %w", o.TTL, ttl)
	case grace != nil:
		return fmt.Errorf("an upload grace of %v is not %w", o.UploadGrace, grace)
	case o.Rows == nil && o.KeyFile == "":
		return errors.New("signing keys need a database or a file")
	}
	return o.lifecycle().check()
}

// newValidator returns a validator of the registered claims. The presence of iat and the order of
// the times are checked by claims.Validate.
func (o *Options) newValidator(leeway time.Duration) *jwt.Validator {
	return jwt.NewValidator(jwt.WithIssuer(o.Issuer), jwt.WithAudience(o.Service), jwt.WithExpirationRequired(),
		jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(o.Now))
}

// Issuer returns the value of the claim iss.
func (i *Issuer) Issuer() string { return i.options.Issuer }

// Service returns the value of the claim aud.
func (i *Issuer) Service() string { return i.options.Service }

// keysAt returns the keys at version v or a newer one. Errors are those of the database.
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

// currentKeys returns the keys as they are now, including changes by other processes.
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

// Maintain moves keys from next to active to retired, and removes retired ones, when they are due.
// It is to be called about once a minute, and is cheap if nothing is due.
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

// Reload reads the key file again. If it is unusable the error says why, and the keys stay as they
// were. Without a key file Reload does nothing.
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

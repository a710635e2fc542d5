package token

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/berth-registry/berth/auth"
)

// Grant is the content of a token. It may be shared: what its fields point at must not be changed.
type Grant struct {
	// Identity has neither Scope nor Expires: what a credential is good for is asked of
	// its source, as of now.
	Identity auth.Identity
	Access   []auth.Access
	ID       string // of the token, for logs: its jti
	KID      string // that signed it: its kid
	Expires  time.Time
}

// verified is a token that was found good in all but its time and the state of its key.
type verifiedToken struct{ grant Grant }

// Revoked reports whether the key that signed a token, which Verify accepted before, was revoked
// since, given the version of the rows. A key that was retired and has come to its end was not.
// Errors are the database's.
func (i *Issuer) Revoked(ctx context.Context, kid string, v auth.Version) (bool, error) {
	set, err := i.keysAt(ctx, v)
	if err != nil {
		return false, err
	}
	_, there := set.keys[kid]
	return !there && !set.ended[kid], nil
}

// Verify returns what a token grants, given the version of the rows that the request goes by.
//
// Errors: ErrInvalid with a reason; ErrExpired, with a Grant that is good for its open upload
// alone, from Leeway after its end until the upload grace is over; those of the database.
func (i *Issuer) Verify(ctx context.Context, text string, v auth.Version) (Grant, error) {
	if len(text) > MaxSize {
		return Grant{}, fmt.Errorf("%w: it is longer than %d bytes", ErrInvalid, MaxSize)
	}
	set, err := i.keysAt(ctx, v)
	if err != nil {
		return Grant{}, err
	}
	now := i.options.Now()
	sum := sha256.Sum256([]byte(text))
	checked, ok := i.cache.Get(sum)
	if !ok {
		if checked, err = i.verify(text, set, now); err != nil {
			return Grant{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if len(text) <= maxCachedSize {
			i.cache.Add(sum, checked)
		}
	}
	// What was found good once is good no longer if its key was revoked since.
	if _, ok := set.usable(checked.grant.KID, i.lifecycle, now); !ok {
		i.cache.Remove(sum)
		return Grant{}, fmt.Errorf("%w: %w", ErrInvalid, errUnknownKey)
	}
	switch {
	case now.Before(checked.grant.Expires.Add(Leeway)):
		return checked.grant, nil
	case now.Before(checked.grant.Expires.Add(i.options.UploadGrace)):
		return checked.grant, ErrExpired
	}
	i.cache.Remove(sum)
	return Grant{}, fmt.Errorf("%w: %w", ErrInvalid, errEnded)
}

var (
	errUnknownKey = errors.New("its kid names no key of this registry")
	errHeader     = errors.New("its header is not one of ours")
	errBase64     = errors.New("it is not in base64url without padding")
	errEnded      = errors.New("it has ended")
	errOther      = errors.New("it is not acceptable")
)

// verify checks everything. Its errors quote nothing of the token.
func (i *Issuer) verify(text string, set *keySet, now time.Time) (verifiedToken, error) {
	k, err := i.keyFor(text, set, now)
	if err != nil {
		return verifiedToken{}, err
	}
	var c claims
	if _, err := i.parser.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return &k.private.PublicKey, nil }); err != nil {
		return verifiedToken{}, reason(err)
	}
	err = i.validator.Validate(&c)
	if errors.Is(err, jwt.ErrTokenExpired) {
		err = i.graceValidator.Validate(&c) // everything else must hold
	}
	if err != nil {
		return verifiedToken{}, reason(err)
	}
	return verifiedToken{grant: Grant{
		Identity: c.Identity.toIdentity(), Access: c.Access, ID: c.ID, KID: k.kid, Expires: time.Unix(c.Expires, 0),
	}}, nil
}

// header is that of our tokens.
type header struct {
	Algorithm   string   `json:"alg"`
	Type        string   `json:"typ"`
	KID         string   `json:"kid"`
	Certificate []string `json:"x5c"`
}

// keyFor finds the key that a token names. The header is held to the form that we write:
// nothing in it can bring a key or a place to get one, or ask for anything that we do not know.
// Where tokens carry a certificate it must be that of the key; it proves nothing.
func (i *Issuer) keyFor(text string, set *keySet, now time.Time) (*key, error) {
	// Decoders pass over line ends, strict ones too.
	if strings.ContainsAny(text, "\r\n") {
		return nil, errBase64
	}
	segment, _, _ := strings.Cut(text, ".")
	data, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, errBase64
	}
	if err := checkNames(data, i.headerNames()...); err != nil {
		return nil, errHeader
	}
	var h header
	if err := json.Unmarshal(data, &h); err != nil || h.Algorithm != algorithm || h.Type != "JWT" {
		return nil, errHeader
	}
	m, ok := set.usable(h.KID, i.lifecycle, now)
	if !ok {
		return nil, errUnknownKey
	}
	if h.Certificate != nil && !slices.Equal(h.Certificate, []string{m.x5c()}) {
		return nil, errHeader
	}
	return m.key, nil
}

func (i *Issuer) headerNames() []string {
	if i.options.X5C {
		return []string{"alg", "typ", "kid", "x5c"}
	}
	return []string{"alg", "typ", "kid"}
}

// reasons are what the library and the claims find, the first that applies.
var reasons = []struct{ err, reason error }{
	{errNames, errNames},
	{jwt.ErrTokenMalformed, errors.New("it is malformed")},
	{jwt.ErrTokenSignatureInvalid, errors.New("its signature is not that of its key")},
	{jwt.ErrTokenRequiredClaimMissing, errors.New("a claim is missing")},
	{jwt.ErrTokenInvalidIssuer, errors.New("it is of another issuer")},
	{jwt.ErrTokenInvalidAudience, errors.New("it is for another service")},
	{errTimes, errTimes},
	{errNoID, errNoID},
	{errIdentity, errIdentity},
	{jwt.ErrTokenNotValidYet, errors.New("it is not valid yet")},
	{jwt.ErrTokenUsedBeforeIssued, errors.New("it comes from the future")},
	{jwt.ErrTokenExpired, errEnded},
}

// reason puts an error of the library in words that quote nothing of the token.
func reason(err error) error {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return errOther
}

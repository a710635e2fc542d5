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

// Grant is the content of a token. It may be shared: do not change what its fields point to.
type Grant struct {
	// Identity has no Scope and no Expires. Those of the credential have to be looked up.
	Identity auth.Identity
	Access   []auth.Access
	ID       string // the claim jti, for logs
	KID      string // of the key that signed it
	Expires  time.Time
}

// verifiedToken is a token whose form, signature and claims were verified. Its end and the state of
// its key have to be checked at each use.
type verifiedToken struct{ grant Grant }

// Revoked reports whether a key was revoked after Verify accepted a token that it signed, at
// version v of the rows. A key whose retention ended was not revoked. Errors are those of the
// database.
func (i *Issuer) Revoked(ctx context.Context, kid string, v auth.Version) (bool, error) {
	set, err := i.keysAt(ctx, v)
	if err != nil {
		return false, err
	}
	_, there := set.keys[kid]
	return !there && !set.ended[kid], nil
}

// Verify returns the grant of a token, at version v of the rows.
//
// Errors: ErrInvalid with a reason; ErrExpired, with a Grant that is only valid for its open upload
// session, from Leeway after the token's end until the upload grace is over; those of the database.
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
	// A cached token is invalid if its key was revoked since.
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

// verify checks form, signature and claims. Its errors quote nothing of the token.
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
		err = i.graceValidator.Validate(&c) // all but the end must be valid
	}
	if err != nil {
		return verifiedToken{}, reason(err)
	}
	return verifiedToken{grant: Grant{
		Identity: c.Identity.toIdentity(), Access: c.Access, ID: c.ID, KID: k.kid, Expires: time.Unix(c.Expires, 0),
	}}, nil
}

// header is the header of a registry token.
type header struct {
	Algorithm   string   `json:"alg"`
	Type        string   `json:"typ"`
	KID         string   `json:"kid"`
	Certificate []string `json:"x5c"`
}

// keyFor returns the key that the header of a token names. The header must have the form that Sign
// writes: nothing in it can supply a key, or an address to fetch one from, or require an extension.
// If it has a certificate it must be that of the key; the certificate proves nothing.
func (i *Issuer) keyFor(text string, set *keySet, now time.Time) (*key, error) {
	// Base64 decoders skip line ends, even strict ones.
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

// reasons maps errors of the library and of claims to reasons. The first that matches counts.
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

// reason returns a reason that quotes nothing of the token.
func reason(err error) error {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return errOther
}

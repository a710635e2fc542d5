package token

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/berth-registry/berth/auth"
)

// notBeforeMargin is the time from the claim nbf to the claim iat, for verifiers whose clocks are
// slow and that have no leeway.
const notBeforeMargin = 10 * time.Second

// Signed is a token that was just signed.
type Signed struct {
	Text     string // a secret
	ID       string // the claim jti, for logs
	Expires  time.Time
	Lifetime time.Duration // from now, in whole seconds
}

// String returns a text without the token.
func (s Signed) String() string { return "token " + s.ID }

// GoString returns a text without the token.
func (s Signed) GoString() string { return s.String() }

// Sign returns a token that gives id the access. The token lives for Options.TTL, or until the
// identity's credential expires if that is sooner.
//
// Errors: ErrTooLarge; auth.ErrCredentials if the credential has expired; those of the database.
func (i *Issuer) Sign(ctx context.Context, id auth.Identity, access []auth.Access) (Signed, error) {
	set, err := i.currentKeys(ctx)
	if err != nil {
		return Signed{}, err
	}
	if set.signer == nil {
		return Signed{}, errNoKey
	}
	now := i.options.Now().Truncate(time.Second)
	expires := now.Add(i.options.TTL)
	if !id.Expires.IsZero() && id.Expires.Before(expires) {
		expires = id.Expires.Truncate(time.Second)
	}
	if !expires.After(now) {
		return Signed{}, fmt.Errorf("%w: the credential has ended", auth.ErrCredentials)
	}
	c := &claims{
		Issuer: i.options.Issuer, Subject: id.Subject(), Audience: i.options.Service,
		Expires: expires.Unix(), NotBefore: now.Add(-notBeforeMargin).Unix(), IssuedAt: now.Unix(),
		ID: rand.Text(), Access: access, Identity: identityClaimsOf(id),
	}
	if c.Access == nil {
		c.Access = []auth.Access{} // other parsers do not take null for a list
	}
	text, err := i.sign(c, set.signer)
	if err != nil {
		return Signed{}, err
	}
	return Signed{Text: text, ID: c.ID, Expires: expires, Lifetime: expires.Sub(now)}, nil
}

func (i *Issuer) sign(c *claims, k *key) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	t.Header["kid"] = k.kid
	if i.options.X5C {
		t.Header["x5c"] = []string{k.x5c()}
	}
	text, err := t.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	if len(text) > MaxSize {
		return "", ErrTooLarge
	}
	return text, nil
}

// x5c returns the certificate in the form of a token's header (RFC 7515, 4.1.6).
func (k *key) x5c() string { return base64.StdEncoding.EncodeToString(k.certificate) }

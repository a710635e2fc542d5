package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/berth-registry/berth/auth"
)

// claims are the claims of a registry token. All are required. Times are seconds since 1970.
//
// The audience is a JSON string, since docker-registry 2.x refuses a list.
type claims struct {
	Issuer    string         `json:"iss"`
	Subject   string         `json:"sub"` // "" if anonymous
	Audience  string         `json:"aud"`
	Expires   int64          `json:"exp"`
	NotBefore int64          `json:"nbf"`
	IssuedAt  int64          `json:"iat"`
	ID        string         `json:"jti"`
	Access    []auth.Access  `json:"access"`
	Identity  identityClaims `json:"id"`
}

var claimNames = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access", "id"}

// identityClaims is the part of an identity that the policy needs for each request. The scope of a
// personal token is not in it: it is read again when the token is used.
type identityClaims struct {
	Kind       auth.Kind           `json:"k"`
	Name       string              `json:"n,omitempty"`
	ID         string              `json:"i,omitempty"`
	Issuer     string              `json:"iss,omitempty"`
	Credential string              `json:"c,omitempty"`
	Stamp      string              `json:"s,omitempty"`
	Groups     []string            `json:"g,omitempty"`
	Claims     map[string][]string `json:"cl,omitempty"`
}

func identityClaimsOf(id auth.Identity) identityClaims {
	return identityClaims{id.Kind, id.Name, id.ID, id.Issuer, id.Credential, id.Stamp, id.Groups, id.Claims}
}

func (i identityClaims) toIdentity() auth.Identity {
	return auth.Identity{
		Kind: i.Kind, Name: i.Name, ID: i.ID, Issuer: i.Issuer,
		Credential: i.Credential, Stamp: i.Stamp, Groups: i.Groups, Claims: i.Claims,
	}
}

var _ jwt.ClaimsValidator = (*claims)(nil)

// Validate checks what jwt.Validator does not. The library calls it.
func (c *claims) Validate() error {
	const latest = 1 << 40 // keeps the sums below from overflowing
	switch {
	case min(c.IssuedAt, c.NotBefore, c.Expires) <= 0 || max(c.IssuedAt, c.NotBefore, c.Expires) > latest:
		return errTimes
	case c.Expires <= c.IssuedAt || c.Expires <= c.NotBefore || c.Expires-c.IssuedAt > int64(auth.MaxTokenTTL/time.Second):
		return errTimes
	case c.ID == "":
		return errNoID
	case !slices.Contains([]auth.Kind{auth.Anonymous, auth.User, auth.Robot, auth.CI}, c.Identity.Kind):
		return errIdentity
	case c.Subject != c.Identity.toIdentity().Subject():
		return errIdentity
	}
	return nil
}

var (
	errTimes    = errors.New("its times make no sense")
	errNoID     = errors.New("it has no jti")
	errIdentity = errors.New("its subject is not that of its identity")
	errNames    = errors.New("there are names in it that do not belong there, or twice")
	errJSON     = errors.New("it is not a JSON object of reasonable depth")
)

// UnmarshalJSON accepts only the names of claims, in exactly this spelling, and none of them twice.
func (c *claims) UnmarshalJSON(data []byte) error {
	type plain claims
	if err := checkNames(data, claimNames...); err != nil {
		return err
	}
	return json.Unmarshal(data, (*plain)(c))
}

// The remaining methods implement jwt.Claims.

func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{c.Audience}, nil }
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(c.Expires), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return numericDate(c.NotBefore), nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return numericDate(c.IssuedAt), nil }

// numericDate converts a time of a claim. 0 means that the claim is missing, which is nil.
func numericDate(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return &jwt.NumericDate{Time: time.Unix(seconds, 0)}
}

// maxDepth limits the nesting of JSON values. Berth's own tokens stay below it.
const maxDepth = 8

// checkNames returns an error unless data is one JSON object whose names are all allowed, and no
// object in it has the same name twice. Other parsers take the first of two equal names, and
// encoding/json the last. Errors quote nothing of data.
func checkNames(data []byte, allowed ...string) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return errJSON
	}
	if err := checkObject(d, allowed, maxDepth); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errJSON
	}
	return nil
}

// checkObject reads the rest of an object whose opening brace was read. If allowed is nil all names
// are allowed.
func checkObject(d *json.Decoder, allowed []string, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		switch {
		case err != nil || !ok:
			return errJSON
		case seen[name] || allowed != nil && !slices.Contains(allowed, name):
			return errNames
		}
		seen[name] = true
		if err := checkValue(d, depth-1); err != nil {
			return err
		}
	}
	return checkEnd(d)
}

// checkValue reads one value.
func checkValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	switch {
	case err != nil || depth < 0:
		return errJSON
	case t == json.Delim('{'):
		return checkObject(d, nil, depth)
	case t == json.Delim('['):
		for d.More() {
			if err := checkValue(d, depth-1); err != nil {
				return err
			}
		}
		return checkEnd(d)
	}
	return nil
}

// checkEnd reads a closing brace or bracket.
func checkEnd(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errJSON
	}
	return nil
}

package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/auth"
)

const (
	// maxToken is the maximum size of an id_token, in bytes. Those of GitHub and GitLab have 2 to 3
	// KiB.
	maxToken = 16 << 10
	// maxID is the maximum length of a jti that is used unchanged, in bytes.
	maxID = 255
	// leeway is how far an issuer's clock may be ahead.
	leeway = time.Minute
)

// algorithms are the accepted signature algorithms: all of them asymmetric.
var algorithms = []string{
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

var (
	errUnknownKey = errors.New("signed with a key that its issuer does not publish")
	errSignature  = errors.New("wrong signature")
)

// verify implements Verify. Its errors other than auth.ErrUnavailable and auth.ErrMisconfigured are
// reasons to reject the token. Until the signature is verified, the claims are used for nothing but
// rejecting the token.
func (s *Source) verify(ctx context.Context, text string) (IDToken, error) {
	c, err := parseClaims(text)
	if err != nil {
		return IDToken{}, err
	}
	issuer, audience, err := s.matchIssuer(c)
	if err != nil {
		return IDToken{}, err
	}
	expires, err := c.checkTimes(s.o.Now())
	if err != nil {
		return IDToken{}, err
	}
	payload, err := s.checkSignature(ctx, text, issuer, audience)
	if err != nil {
		return IDToken{}, err
	}
	id, err := newIdentity(issuer, c)
	if err != nil {
		return IDToken{}, err
	}
	id.Expires = expires
	return IDToken{Identity: id, ID: c.tokenID(payload), Expires: expires}, nil
}

// matchIssuer returns the configured issuer that the token names, and the audience of the token
// that this issuer accepts.
func (s *Source) matchIssuer(c claims) (auth.Issuer, string, error) {
	url, err := c.text("iss")
	if err != nil {
		return auth.Issuer{}, "", err
	}
	issuers := s.o.Issuers()
	at := slices.IndexFunc(issuers, func(issuer auth.Issuer) bool { return issuer.URL == url })
	if at < 0 {
		return auth.Issuer{}, "", fmt.Errorf("issuer %q is not configured", url)
	}
	audiences, _ := claimValues(c["aud"])
	for _, a := range audiences {
		if a != "" && slices.Contains(issuers[at].Audiences, a) {
			return issuers[at], a, nil
		}
	}
	return auth.Issuer{}, "", fmt.Errorf("of %s for audiences %q, expected one of %q", url, audiences, issuers[at].Audiences)
}

// checkSignature verifies the signature and returns the signed payload.
func (s *Source) checkSignature(ctx context.Context, text string, issuer auth.Issuer, audience string) ([]byte, error) {
	set := &keySet{keys: s.keysOf(issuer)}
	token, err := oidc.NewVerifier(issuer.URL, set, &oidc.Config{
		ClientID:             audience,
		SupportedSigningAlgs: algorithms,
		Now:                  s.o.Now,
	}).Verify(ctx, text)
	if set.err != nil {
		return nil, set.err // the library would turn it into a text
	}
	if err != nil {
		return nil, err
	}
	var payload rawJSON
	return payload, token.Claims(&payload)
}

// keySet implements go-oidc's KeySet for one token. The library's own implementation fetches the
// keys again for each unknown key and each wrong signature.
type keySet struct {
	keys *issuerKeys
	err  error // why there was no key to check with
}

// VerifySignature returns the payload of a token that one of the issuer's keys signed. The verifier
// has already rejected other algorithms than those above.
func (s *keySet) VerifySignature(ctx context.Context, text string) ([]byte, error) {
	var allowed []jose.SignatureAlgorithm
	for _, a := range algorithms {
		allowed = append(allowed, jose.SignatureAlgorithm(a))
	}
	signed, err := jose.ParseSignedCompact(text, allowed)
	if err != nil {
		return nil, err
	}
	header := signed.Signatures[0].Protected
	if typ, there := header.ExtraHeaders[jose.HeaderType]; there && !isJWT(typ) {
		return nil, fmt.Errorf("a token of type %q, expected JWT", typ) // an access or a logout token
	}
	keys, err := s.keys.byID(ctx, header.KeyID)
	if err != nil {
		s.err = err
		return nil, err
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errSignature
}

// isJWT reports whether a header typ is JWT. It is a media type (RFC 7515, section 4.1.9), in which
// case does not matter.
func isJWT(typ any) bool {
	text, ok := typ.(string)
	return ok && strings.EqualFold(text, "JWT")
}

// rawJSON keeps a JSON document unchanged.
type rawJSON []byte

func (r *rawJSON) UnmarshalJSON(b []byte) error {
	*r = slices.Clone(b)
	return nil
}

// newIdentity returns the identity of a verified token.
func newIdentity(issuer auth.Issuer, c claims) (auth.Identity, error) {
	subject, err := c.text("sub")
	if err != nil {
		return auth.Identity{}, err
	}
	kept, err := c.identityClaims()
	if err != nil {
		return auth.Identity{}, err
	}
	if !auth.MatchClaims(issuer.Match, kept) {
		return auth.Identity{}, fmt.Errorf("the claims are not what issuer %s must have", issuer.Name)
	}
	name, err := expand(issuer.Identity, kept)
	if err != nil {
		return auth.Identity{}, err
	}
	return auth.Identity{
		Kind:       auth.CI,
		Name:       name,
		ID:         identityID(issuer, subject),
		Issuer:     issuer.Name,
		Claims:     kept,
		Credential: "id_token",
	}, nil
}

// identityID returns an id that is unique to a subject of an issuer.
func identityID(issuer auth.Issuer, subject string) string { return hashOf(issuer.URL, subject) }

// tokenID returns the jti of the token. Without one, or if it is too long, it returns a hash of the
// payload. The signature is not part of the hash, because a signature can be encoded in several
// ways.
func (c claims) tokenID(payload []byte) string {
	if jti, err := c.text("jti"); err == nil && len(jti) <= maxID {
		return jti
	}
	return hashOf("payload", string(payload))
}

// hashOf returns a short hash of a list of words, in hexadecimal.
func hashOf(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

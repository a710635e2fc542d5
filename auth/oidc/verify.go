package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/auth"
)

const (
	// maxToken is the most bytes of an id_token; GitHub's and GitLab's have 2 to 3 KiB.
	maxToken = 16 << 10
	// maxID is the most bytes of a jti that is kept as it is.
	maxID = 255
	// leeway is how far an issuer's clock may be ahead.
	leeway = time.Minute
)

// The algorithms that an id_token may be signed with: those with a private key.
var algorithms = []string{
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

var (
	errUnknownKey = errors.New("signed with a key that its issuer does not publish")
	errSignature  = errors.New("wrong signature")
)

// verify is Verify, whose errors but auth.ErrUnavailable are reasons of a refusal.
// Until the signature is checked what the token says can only get it refused.
func (s *Source) verify(ctx context.Context, text string) (IDToken, error) {
	c, err := parseClaims(text)
	if err != nil {
		return IDToken{}, err
	}
	is, audience, err := s.issuer(c)
	if err != nil {
		return IDToken{}, err
	}
	expires, err := c.checkTimes(s.o.Now())
	if err != nil {
		return IDToken{}, err
	}
	payload, err := s.checkSignature(ctx, text, is, audience)
	if err != nil {
		return IDToken{}, err
	}
	id, err := identify(is, c)
	if err != nil {
		return IDToken{}, err
	}
	id.Expires = expires
	return IDToken{Identity: id, ID: c.id(payload), Expires: expires}, nil
}

// issuer returns the configured issuer that the token says it is of, and which of
// the audiences it is for.
func (s *Source) issuer(c claims) (auth.Issuer, string, error) {
	url, err := c.text("iss")
	if err != nil {
		return auth.Issuer{}, "", err
	}
	issuers := s.o.Issuers()
	at := slices.IndexFunc(issuers, func(is auth.Issuer) bool { return is.URL == url })
	if at < 0 {
		return auth.Issuer{}, "", fmt.Errorf("issuer %q is not configured", url)
	}
	audiences, _ := values(c["aud"])
	for _, a := range audiences {
		if a != "" && slices.Contains(issuers[at].Audiences, a) {
			return issuers[at], a, nil
		}
	}
	return auth.Issuer{}, "", fmt.Errorf("of %s for audiences %q, expected one of %q", url, audiences, issuers[at].Audiences)
}

// checkSignature returns the signed bytes.
func (s *Source) checkSignature(ctx context.Context, text string, is auth.Issuer, audience string) ([]byte, error) {
	set := &keySet{remote: s.remote(is)}
	token, err := oidc.NewVerifier(is.URL, set, &oidc.Config{
		ClientID:             audience,
		SupportedSigningAlgs: algorithms,
		Now:                  s.o.Now,
	}).Verify(ctx, text)
	if set.err != nil {
		return nil, set.err // which the library makes a text of
	}
	if err != nil {
		return nil, err
	}
	var payload rawJSON
	return payload, token.Claims(&payload)
}

// keySet is an issuer's published keys as go-oidc asks for them, for one token. The
// library's own set fetches again for each unknown key and each wrong signature.
type keySet struct {
	remote *remote
	err    error // why there was no key to check with
}

// VerifySignature returns the payload of a token that a key of the issuer signed.
// The verifier has refused all but the algorithms above.
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
	if typ, there := header.ExtraHeaders[jose.HeaderType]; there && typ != "JWT" {
		return nil, fmt.Errorf("a token of type %q, expected JWT", typ) // an access or a logout token
	}
	keys, err := s.remote.keys(ctx, header.KeyID)
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

// rawJSON keeps a document as it is.
type rawJSON []byte

func (r *rawJSON) UnmarshalJSON(b []byte) error {
	*r = slices.Clone(b)
	return nil
}

// identify makes the identity that a verified token proves.
func identify(is auth.Issuer, c claims) (auth.Identity, error) {
	subject, err := c.text("sub")
	if err != nil {
		return auth.Identity{}, err
	}
	of, err := c.ofJob()
	if err != nil {
		return auth.Identity{}, err
	}
	if !auth.MatchClaims(is.Match, of) {
		return auth.Identity{}, fmt.Errorf("the claims are not what issuer %s must have", is.Name)
	}
	name, err := expand(is.Identity, of)
	if err != nil {
		return auth.Identity{}, err
	}
	return auth.Identity{
		Kind:       auth.CI,
		Name:       name,
		ID:         identityID(is, subject),
		Issuer:     is.Name,
		Claims:     of,
		Credential: "id_token",
	}, nil
}

// identityID is the same for the same subject of the same issuer, and for no other.
func identityID(is auth.Issuer, subject string) string { return digest(is.URL, subject) }

// id is the token's jti or, where it has none, what is the same for the same payload.
// A signature can be written in several ways and does not count.
func (c claims) id(payload []byte) string {
	if jti, err := c.text("jti"); err == nil && len(jti) <= maxID {
		return jti
	}
	return digest("payload", string(payload))
}

// digest is short, the same for the same words, and safe wherever a word is.
func digest(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

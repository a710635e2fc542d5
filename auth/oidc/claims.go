package oidc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxClaims is the maximum size of an identity's claims, names and values together, in bytes.
const maxClaims = 8 << 10

// claims are the claims of a token as raw JSON. Their names are case-sensitive, unlike those of
// struct fields in encoding/json.
type claims map[string]json.RawMessage

// parseClaims parses the claims of a token without verifying it. The token must have three parts of
// strict base64. So two different texts cannot be the same token, except for their signatures.
func parseClaims(text string) (claims, error) {
	if len(text) > maxToken {
		return nil, fmt.Errorf("%d bytes, more than %d", len(text), maxToken)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, errors.New("not three parts")
	}
	var payload []byte
	for i, part := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, errors.New("not base64")
		}
		if i == 1 {
			payload = b
		}
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil || c == nil {
		return nil, errors.New("the claims are no JSON object")
	}
	return c, nil
}

// text returns a claim that must be a string and not empty.
func (c claims) text(name string) (string, error) {
	var s string
	if err := json.Unmarshal(c[name], &s); err != nil || s == "" {
		return "", fmt.Errorf("claim %s must be a text", name)
	}
	return s, nil
}

// checkTimes checks exp and iat, which are required, and nbf, and returns exp. It tolerates an
// issuer's clock that is ahead. It has no tolerance for exp, because a session that is exchanged
// for the token ends at exp.
func (c claims) checkTimes(now time.Time) (time.Time, error) {
	expires, err := c.time("exp")
	if err != nil {
		return time.Time{}, err
	}
	if !now.Before(expires) {
		return time.Time{}, fmt.Errorf("expired %s ago", now.Sub(expires).Round(time.Second))
	}
	for _, name := range []string{"iat", "nbf"} {
		if _, there := c[name]; name == "nbf" && !there {
			continue
		}
		at, err := c.time(name)
		if err != nil {
			return time.Time{}, err
		}
		if at.After(now.Add(leeway)) {
			return time.Time{}, fmt.Errorf("claim %s is %s from now: one of two clocks is wrong", name, at.Sub(now).Round(time.Second))
		}
	}
	return expires, nil
}

// time returns a claim that must be a time, in seconds since 1970 (RFC 7519, section 2).
func (c claims) time(name string) (time.Time, error) {
	var seconds float64
	if err := json.Unmarshal(c[name], &seconds); err != nil || seconds <= 0 || seconds >= 1<<40 {
		return time.Time{}, fmt.Errorf("claim %s must be a time in seconds", name)
	}
	return time.Unix(int64(seconds), 0), nil
}

// registeredClaims are the claims that describe the token and not the job (RFC 7519, section 4.1),
// except for sub.
var registeredClaims = []string{"iss", "aud", "exp", "nbf", "iat", "jti"}

// identityClaims returns the claims that describe the job: strings, numbers and booleans, or lists
// of them. Numbers keep their digits; they are never converted to floats. Claims that are null,
// empty or nested are left out.
func (c claims) identityClaims() (map[string][]string, error) {
	kept := make(map[string][]string, len(c))
	size := 0
	for name, raw := range c {
		v, ok := claimValues(raw)
		if !ok || slices.Contains(registeredClaims, name) {
			continue
		}
		kept[name] = v
		size += len(name)
		for _, s := range v {
			size += len(s)
		}
	}
	if size > maxClaims {
		return nil, fmt.Errorf("%d bytes of claims, more than %d", size, maxClaims)
	}
	return kept, nil
}

// claimValues returns the values of a claim: one, or several if it is a list. It returns false if
// the claim is null, an empty list, an object, or a list that contains null, lists or objects.
func claimValues(raw json.RawMessage) ([]string, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for _, item := range list {
		switch item := item.(type) {
		case string:
			out = append(out, item)
		case json.Number:
			out = append(out, item.String())
		case bool:
			out = append(out, fmt.Sprint(item))
		default:
			return nil, false
		}
	}
	return out, len(out) > 0
}

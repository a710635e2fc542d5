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

// maxClaims is the most bytes of names and values that an identity has as claims.
const maxClaims = 8 << 10

// claims are what a token says, each as it was written. Names are compared exactly,
// as encoding/json does not for structs.
type claims map[string]json.RawMessage

// parseClaims reads a token's claims without believing them. The token must be
// three parts of strict base64, so that no two texts are the same token but for
// their signatures.
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

// text returns a claim that must be a string, and not an empty one.
func (c claims) text(name string) (string, error) {
	var s string
	if err := json.Unmarshal(c[name], &s); err != nil || s == "" {
		return "", fmt.Errorf("claim %s must be a text", name)
	}
	return s, nil
}

// checkTimes checks exp and iat, which must be there, and nbf, and returns exp. It
// allows an issuer's clock to be ahead but none to be late: whatever the identity is
// exchanged for ends at exp.
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

// time returns a claim that must be a time, in seconds since 1970 (RFC 7519, 2).
func (c claims) time(name string) (time.Time, error) {
	var seconds float64
	if err := json.Unmarshal(c[name], &seconds); err != nil || seconds <= 0 || seconds >= 1<<40 {
		return time.Time{}, fmt.Errorf("claim %s must be a time in seconds", name)
	}
	return time.Unix(int64(seconds), 0), nil
}

// ofToken are the claims that speak of the token, not of who has it.
var ofToken = []string{"iss", "aud", "exp", "nbf", "iat", "jti"}

// ofJob returns the claims that say who has the token: texts, numbers and booleans,
// each as it was written (the digits of an id are never those of a float), and lists
// of them. What has more depth, null or nothing is not among them.
func (c claims) ofJob() (map[string][]string, error) {
	of := make(map[string][]string, len(c))
	size := 0
	for name, raw := range c {
		v, ok := values(raw)
		if !ok || slices.Contains(ofToken, name) {
			continue
		}
		of[name] = v
		size += len(name)
		for _, s := range v {
			size += len(s)
		}
	}
	if size > maxClaims {
		return nil, fmt.Errorf("%d bytes of claims, more than %d", size, maxClaims)
	}
	return of, nil
}

// values returns what a claim says: one text or several. It is false for a claim
// that is none, has none, or has parts of its own.
func values(raw json.RawMessage) ([]string, bool) {
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

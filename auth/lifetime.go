package auth

import (
	"errors"
	"time"
)

// Bounds of what is given for a time.
const (
	// MinTokenTTL is the shortest life of a token. Clients take a shorter one for this long all
	// the same, and go on to use what has ended.
	MinTokenTTL = time.Minute
	// MaxTokenTTL is the longest.
	MaxTokenTTL = time.Hour
	// MaxSessionTTL is the longest that a CI job may use what it got for one identity token.
	MaxSessionTTL = 6 * time.Hour
	// JWKSMaxAge is how long others may keep the published keys before they ask again.
	JWKSMaxAge = time.Hour
)

// CheckTokenTTL returns nil for a life that a token may have. The text of its error follows
// "is not".
func CheckTokenTTL(ttl time.Duration) error {
	switch {
	case ttl < MinTokenTTL || ttl > MaxTokenTTL:
		return errors.New("between 1m and 1h: clients take a shorter one for a minute, and a longer one is a password")
	case ttl%time.Second != 0:
		return errors.New("in whole seconds")
	}
	return nil
}

// CheckSessionTTL returns nil for a life that the session of a CI job may have. The text of its
// error follows "is not".
func CheckSessionTTL(ttl time.Duration) error {
	if ttl < MinTokenTTL || ttl > MaxSessionTTL {
		return errors.New("between 1m and 6h")
	}
	return nil
}

// KeyLead is how long a signing key is published before it signs, where tokens live for ttl.
// Whoever fetched the keys just before asks again within JWKSMaxAge, and gets the new one before
// the last token that was signed until then has ended.
func KeyLead(ttl time.Duration) time.Duration { return JWKSMaxAge + ttl }

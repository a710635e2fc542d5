package auth

import (
	"errors"
	"time"
)

// Bounds of the lifetimes of tokens, sessions and published keys.
const (
	// minTokenTTL is the shortest lifetime of a registry token. Clients treat a shorter one as one
	// minute, and would go on using an expired token.
	minTokenTTL = time.Minute
	// MaxTokenTTL is the longest lifetime of a registry token.
	MaxTokenTTL = time.Hour
	// maxSessionTTL is the longest lifetime of the login session of a CI job.
	maxSessionTTL = 6 * time.Hour
	// maxUploadGrace is the longest time for which an expired registry token goes on with uploads.
	// The account is asked for each request, but a stolen token stays good for its uploads, and
	// signing keys are kept for as long.
	maxUploadGrace = 24 * time.Hour
	// JWKSMaxAge is how long others may cache the published keys.
	JWKSMaxAge = time.Hour
)

// CheckTokenTTL returns nil if ttl is a valid lifetime of a registry token. The text of its error
// completes a sentence that ends in "is not".
func CheckTokenTTL(ttl time.Duration) error {
	switch {
	case ttl < minTokenTTL || ttl > MaxTokenTTL:
		return errors.New("between 1m and 1h: clients take a shorter one for a minute, and a longer one is a password")
	case ttl%time.Second != 0:
		return errors.New("in whole seconds")
	}
	return nil
}

// CheckSessionTTL returns nil if ttl is a valid lifetime of the login session of a CI job. The text
// of its error completes a sentence that ends in "is not".
func CheckSessionTTL(ttl time.Duration) error {
	if ttl < minTokenTTL || ttl > maxSessionTTL {
		return errors.New("between 1m and 6h")
	}
	return nil
}

// CheckUploadGrace returns nil if grace is a valid time for which an expired registry token goes on
// with the uploads that it began. The text of its error completes a sentence that ends in "is not".
func CheckUploadGrace(grace time.Duration) error {
	if grace < 0 || grace > maxUploadGrace {
		return errors.New("between 0s and 24h: a client that uploads for longer gets a new token")
	}
	return nil
}

// KeyLeadTime returns how long a signing key is published before it signs, if registry tokens live
// for ttl. A verifier that fetched the keys just before fetches again within JWKSMaxAge, and then
// gets the new key before the last token of the old one expires.
func KeyLeadTime(ttl time.Duration) time.Duration { return JWKSMaxAge + ttl }

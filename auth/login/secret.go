package login

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"

	"github.com/berth-registry/berth/auth"
)

// TokenKind is the kind of a token, as it is stored in its row.
type TokenKind string

const (
	PersonalToken TokenKind = "personal" // of a user
	RobotToken    TokenKind = "robot"    // of a robot
	SessionToken  TokenKind = "session"  // of a CI job
)

// A secret consists of a prefix, by which people and secret scanners recognize it; 30 random
// characters (178 bits); and a checksum of both. With the checksum a mistyped or truncated secret
// is detected without the database.
const (
	randomChars   = 30
	checksumChars = 6
	prefixChars   = len("berthp_")

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// prefix returns the prefix of the kind's secrets.
func (k TokenKind) prefix() string {
	switch k {
	case RobotToken:
		return "berthr_"
	case SessionToken:
		return "bertht_"
	default:
		return "berthp_"
	}
}

// NewSecret returns the secret of a new token and its hash. The secret is shown once and never
// stored; the hash is what is stored.
func NewSecret(kind TokenKind) (secret string, hash []byte) {
	b := append(make([]byte, 0, prefixChars+randomChars+checksumChars), kind.prefix()...)
	for len(b) < prefixChars+randomChars {
		var random [1]byte
		rand.Read(random[:]) // never returns an error
		// Only bytes below 4 × 62 are used, so that all characters are equally likely.
		if random[0] < 248 {
			b = append(b, base62[random[0]%62])
		}
	}
	secret = string(b) + checksum(string(b))
	return secret, hashSecret(secret)
}

// hashSecret returns the hash under which a secret is stored. It has no salt: 178 random bits
// cannot be guessed.
func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// isToken reports whether text has the prefix of a token.
func isToken(text string) bool {
	_, ok := kindByPrefix(text)
	return ok
}

func kindByPrefix(text string) (TokenKind, bool) {
	for _, kind := range []TokenKind{PersonalToken, RobotToken, SessionToken} {
		if strings.HasPrefix(text, kind.prefix()) {
			return kind, true
		}
	}
	return "", false
}

// ParseSecret returns the kind of a secret.
//
// Errors: auth.ErrNotMine if it has no prefix of a token; auth.ErrCredentials if its form or its
// checksum is wrong.
func ParseSecret(secret string) (TokenKind, error) {
	kind, ok := kindByPrefix(secret)
	if !ok {
		return "", auth.ErrNotMine
	}
	if len(secret) != prefixChars+randomChars+checksumChars || strings.Trim(secret[prefixChars:], base62) != "" {
		return "", auth.ErrCredentials
	}
	if at := prefixChars + randomChars; secret[at:] != checksum(secret[:at]) {
		return "", auth.ErrCredentials
	}
	return kind, nil
}

// checksum returns the CRC-32 of a text in base 62.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var digits [checksumChars]byte
	for i := range digits {
		digits[checksumChars-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

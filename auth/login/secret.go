package login

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"

	"github.com/berth-registry/berth/auth"
)

// TokenKind is what a token stands for, as its row has it.
type TokenKind string

const (
	PersonalToken TokenKind = "personal" // of a user
	RobotToken    TokenKind = "robot"    // of a robot
	SessionToken  TokenKind = "session"  // of a CI job
)

// A secret is a prefix, by which people and scanners know it for what it is, 30 random
// characters (178 bits), and a checksum of all that, so that a typing error or a
// truncated copy is noticed without a look at the database.
const (
	randomChars   = 30
	checksumChars = 6
	prefixChars   = len("berthp_")

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// prefix of the kind's secrets.
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

// NewSecret makes the secret of a new token, which is to be shown once and never kept,
// and its hash, which is.
func NewSecret(kind TokenKind) (secret string, hash []byte) {
	b := append(make([]byte, 0, prefixChars+randomChars+checksumChars), kind.prefix()...)
	for len(b) < prefixChars+randomChars {
		var random [1]byte
		rand.Read(random[:]) // never fails: it would end the program
		// The highest multiple of 62 in a byte, so that no character comes up more often.
		if random[0] < 248 {
			b = append(b, base62[random[0]%62])
		}
	}
	secret = string(b) + checksum(string(b))
	return secret, hashSecret(secret)
}

// Hash returns the hash by which the rows know a secret. It needs no salt: 178 random bits cannot
// be guessed.
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
// Errors: auth.ErrNotMine for what does not look like one; auth.ErrCredentials for one
// that cannot have been made here.
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

// checksum is the CRC-32 of a text in base 62.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var digits [checksumChars]byte
	for i := range digits {
		digits[checksumChars-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

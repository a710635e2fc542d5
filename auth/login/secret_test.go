package login

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth"
)

func TestNewSecret(t *testing.T) {
	for kind, prefix := range map[TokenKind]string{PersonalToken: "berthp_", RobotToken: "berthr_", SessionToken: "bertht_"} {
		seen := make(map[string]bool)
		for range 200 {
			secret, hash := NewSecret(kind)
			if sum := sha256.Sum256([]byte(secret)); !bytes.Equal(hash, sum[:]) || !bytes.Equal(hash, hashSecret(secret)) {
				t.Error("the hash is another one's")
			}
			if !strings.HasPrefix(secret, prefix) || len(secret) != 43 || seen[secret] || !isToken(secret) {
				t.Errorf("%q", secret)
			}
			if got, err := ParseSecret(secret); got != kind || err != nil {
				t.Errorf("%q is of kind %q, %v", secret, got, err)
			}
			seen[secret] = true
		}
	}
}

// All characters are equally likely: χ² over 62 of them stays below what one run in a million
// exceeds.
func TestSecretIsUniform(t *testing.T) {
	counts := make(map[rune]float64)
	const secrets = 4000
	for range secrets {
		secret, _ := NewSecret(RobotToken)
		for _, c := range secret[prefixChars : prefixChars+randomChars] {
			counts[c]++
		}
	}
	expected := float64(secrets*randomChars) / 62
	var chi2 float64
	for _, c := range base62 {
		chi2 += math.Pow(counts[c]-expected, 2) / expected
	}
	if chi2 > 130 {
		t.Errorf("χ² is %.0f", chi2)
	}
}

// The checksum is that of GitHub's format: CRC-32 in base 62, six digits. The values were computed
// with another program.
func TestChecksum(t *testing.T) {
	for text, want := range map[string]string{"": "000000", "berthp_" + strings.Repeat("0", 30): "3PGQ9u"} {
		if got := checksum(text); got != want {
			t.Errorf("%q has %q, want %q", text, got, want)
		}
	}
}

// A character that is changed, added or left out is detected without the database.
func TestParseSecretNoticesErrors(t *testing.T) {
	secret, _ := NewSecret(PersonalToken)
	check := func(damaged string) {
		t.Helper()
		if damaged == secret {
			return
		}
		if kind, err := ParseSecret(damaged); !errors.Is(err, auth.ErrCredentials) && !errors.Is(err, auth.ErrNotMine) || kind != "" {
			t.Errorf("%q for %q is %q, %v", damaged, secret, kind, err)
		}
	}
	for i := range secret {
		check(secret[:i])
		check(secret[:i] + secret[i+1:])
		for _, c := range base62 + "_ \n\x00é" {
			check(secret[:i] + string(c) + secret[i+1:])
			check(secret[:i] + string(c) + secret[i:])
		}
	}
	check("berthr_" + secret[prefixChars:])
	check(secret + " ")
	check(strings.ToUpper(secret))
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 1000 { // two characters swapped
		i := prefixChars + r.IntN(randomChars+checksumChars-1)
		b := []byte(secret)
		b[i], b[i+1] = b[i+1], b[i]
		check(string(b))
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// FuzzParseSecret: only texts of exactly the right form are accepted.
func FuzzParseSecret(f *testing.F) {
	for _, kind := range []TokenKind{PersonalToken, RobotToken, SessionToken} {
		secret := kind.prefix() + strings.Repeat("a", randomChars)
		f.Add(secret + checksum(secret))
		f.Add(secret)
		f.Add(kind.prefix())
	}
	f.Add("")
	f.Add("berthp")
	f.Add("berthx_" + strings.Repeat("0", 36))
	f.Fuzz(func(t *testing.T, text string) {
		kind, err := ParseSecret(text)
		switch {
		case err == nil:
			if text != kind.prefix()+text[7:37]+checksum(text[:37]) || !isToken(text) {
				t.Errorf("%q is a secret of kind %q", text, kind)
			}
		case errors.Is(err, auth.ErrNotMine):
			if isToken(text) {
				t.Errorf("%q looks like a secret and is not ours", text)
			}
		case !errors.Is(err, auth.ErrCredentials) || !isToken(text):
			t.Errorf("%q: %v", text, err)
		}
		// Any text of the right form is accepted with its checksum.
		if len(text) >= 37 && isToken(text) && strings.Trim(text[7:37], base62) == "" {
			if _, err := ParseSecret(text[:37] + checksum(text[:37])); err != nil {
				t.Errorf("%q with its checksum: %v", text[:37], err)
			}
		}
	})
}

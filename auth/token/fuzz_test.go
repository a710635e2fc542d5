package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"math/big"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzVerify: Verify accepts only the signed texts, and fails only with ErrInvalid. Key, clock and
// signatures are the same in each process, so that mutations start from valid tokens and a saved
// corpus stays valid.
func FuzzVerify(f *testing.F) {
	private := derive(f, big.NewInt(20261122))
	file := filepath.Join(f.TempDir(), "key.pem")
	writeFile(f, file, encodePrivate(f, private))
	w := newWorld(f, func(o *Options) { o.KeyFile = file })
	head, body := w.model()
	sign := func(text string) []byte { return repeatable(f, private, text) }
	forge := func(h, c parts) string {
		return w.assemble(change(head, h), change(change(body, parts{"jti": "x"}), c), sign)
	}

	good := []string{forge(nil, nil), forge(nil, parts{"access": []string{}})}
	for _, text := range slices.Concat(good, []string{
		forge(parts{"alg": "none"}, nil), forge(parts{"kid": "../../x"}, nil), forge(parts{"crit": []string{"exp"}}, nil),
		forge(nil, parts{"aud": []string{"r.test"}}), forge(nil, parts{"exp": nil}), forge(nil, parts{"sub": "user:bob"}), "..",
	}) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := w.Verify(context.Background(), text, 0)
		switch {
		case slices.Contains(good, text) && err != nil:
			t.Errorf("a good token: %v", err)
		case slices.Contains(good, text):
		case !errors.Is(err, ErrInvalid) || g.ID != "":
			t.Errorf("accepted %q: %v", text, err)
		}
	})
}

// repeatable signs deterministically, as in RFC 6979, so that a text has the same signature in each
// process of a fuzzing run.
func repeatable(t testing.TB, private *ecdsa.PrivateKey, text string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	der, err := private.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var signature struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &signature); err != nil {
		t.Fatal(err)
	}
	both := make([]byte, 64)
	signature.R.FillBytes(both[:32])
	signature.S.FillBytes(both[32:])
	return both
}

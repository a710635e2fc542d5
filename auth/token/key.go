package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// algorithm is the one that a key of ours signs with: ECDSA on P-256.
const algorithm = "ES256"

const (
	privateBlock     = "PRIVATE KEY"
	certificateBlock = "CERTIFICATE"
)

// key is a signing key. It does not change.
type key struct {
	kid         string // RFC 7638 thumbprint of the public key
	private     *ecdsa.PrivateKey
	point       []byte // x and y of the public key, 32 bytes each
	certificate []byte // of the public key, signed by itself; DER
}

// String does not show the secret.
func (k *key) String() string { return "signing key " + k.kid }

// GoString does not either.
func (k *key) GoString() string { return k.String() }

// newKey makes a key that every verifier understands and every command line takes.
func generateKey() (*key, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making a signing key: %w", err)
		}
		k, err := completeKey(private)
		if err != nil {
			return nil, err
		}
		// `berth key revoke -x` would be an option.
		if !k.hasLeadingZero() && !strings.HasPrefix(k.kid, "-") {
			return k, nil
		}
	}
}

// keyOf completes a private key on P-256.
func completeKey(private *ecdsa.PrivateKey) (*key, error) {
	uncompressed, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("a signing key: %w", err)
	}
	k := &key{private: private, point: uncompressed[1:]}
	x, y := k.coordinates()
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	k.kid = base64.RawURLEncoding.EncodeToString(sum[:])
	k.certificate, err = selfSigned(private, k.kid)
	return k, err
}

// coordinates are those of the public key as a JWK has them.
func (k *key) coordinates() (x, y string) {
	return base64.RawURLEncoding.EncodeToString(k.point[:32]), base64.RawURLEncoding.EncodeToString(k.point[32:])
}

// leadingZero reports whether a coordinate begins with a zero byte. Distribution computes the
// thumbprint of such a key without that byte, and then does not find it by ours.
func (k *key) hasLeadingZero() bool { return k.point[0] == 0 || k.point[32] == 0 }

// selfSigned returns a certificate that is the same whenever it is made, so that what was
// given to a verifier stays right for a key of which only the private half is kept. It
// does not end: keys are rotated, and a verifier's list is what ends its trust.
func selfSigned(private *ecdsa.PrivateKey, kid string) ([]byte, error) {
	sum := sha256.Sum256([]byte(kid))
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(sum[:16]),
		Subject:      pkix.Name{CommonName: kid},
		SubjectKeyId: sum[:20],
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, 4.1.2.5: no end
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	// Without a source of randomness an ECDSA signature is that of RFC 6979.
	der, err := x509.CreateCertificate(nil, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of a signing key: %w", err)
	}
	return der, nil
}

// encode returns the key and its certificate as parseKeys reads them.
func (k *key) encode() (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return "", fmt.Errorf("encoding a signing key: %w", err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der})
	return string(private) + certificatePEM(k.certificate), nil
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der}))
}

// parseKeys reads private keys in PKCS#8 PEM. One may be followed by its certificate, which
// is used in place of the one that selfSigned would make.
func parseKeys(data []byte) ([]*key, error) {
	var keys []*key
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		switch block.Type {
		case privateBlock:
			k, err := parsePrivate(block.Bytes)
			if err != nil {
				return nil, err
			}
			keys = append(keys, k)
		case certificateBlock:
			if len(keys) == 0 {
				return nil, errors.New("a certificate stands before the first private key: it belongs behind its key")
			}
			if err := keys[len(keys)-1].setCertificate(block.Bytes); err != nil {
				return nil, err
			}
		case "EC PRIVATE KEY":
			return nil, errors.New("the key is in SEC 1 form (EC PRIVATE KEY): convert it with openssl pkcs8 -topk8 -nocrypt")
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the key is encrypted: a server that starts unattended needs it in the clear, readable for its user alone")
		default:
			return nil, fmt.Errorf("there is a PEM block %q: expected PRIVATE KEY (PKCS#8), and perhaps CERTIFICATE behind it", block.Type)
		}
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("there is no PEM block: expected PRIVATE KEY (PKCS#8, P-256), as openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 writes it")
	case len(bytes.TrimSpace(data)) > 0 && bytes.Contains(data, []byte("-----BEGIN")):
		return nil, fmt.Errorf("a PEM block after %d keys is damaged", len(keys))
	}
	return keys, nil
}

// parsePrivate reads a key in PKCS#8. The parser's own error might quote what it read.
func parsePrivate(der []byte) (*key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("a block PRIVATE KEY is no private key in PKCS#8")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("a private key is not on the curve P-256: tokens are signed with ES256 alone")
	}
	return completeKey(private)
}

// adopt takes a certificate that was made for the key before.
func (k *key) setCertificate(der []byte) error {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("the certificate of key %s: %w", k.kid, err)
	}
	if !k.private.PublicKey.Equal(certificate.PublicKey) {
		return fmt.Errorf("the certificate behind key %s is of another key", k.kid)
	}
	k.certificate = der
	return nil
}

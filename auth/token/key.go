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

// algorithm is the only signature algorithm of Berth's keys: ECDSA on P-256 with SHA-256.
const algorithm = "ES256"

const (
	privateBlock     = "PRIVATE KEY"
	certificateBlock = "CERTIFICATE"
)

// key is a signing key. It is immutable.
type key struct {
	kid         string // RFC 7638 thumbprint of the public key
	private     *ecdsa.PrivateKey
	point       []byte // x and y of the public key, 32 bytes each
	certificate []byte // self-signed, in DER
}

// String returns a text without the private key.
func (k *key) String() string { return "signing key " + k.kid }

// GoString returns a text without the private key.
func (k *key) GoString() string { return k.String() }

// generateKey returns a new key that all verifiers accept, with a kid that command lines accept.
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
		// In `berth key revoke -x` the kid -x would be taken for an option.
		if !k.hasLeadingZero() && !strings.HasPrefix(k.kid, "-") {
			return k, nil
		}
	}
}

// completeKey returns the key of a private key on P-256, with its kid and a certificate.
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

// coordinates returns the coordinates of the public key, encoded as in a JWK.
func (k *key) coordinates() (x, y string) {
	return base64.RawURLEncoding.EncodeToString(k.point[:32]), base64.RawURLEncoding.EncodeToString(k.point[32:])
}

// hasLeadingZero reports whether a coordinate begins with a zero byte. docker-distribution leaves
// such a byte out when it computes the thumbprint, and then does not find the key by its kid.
func (k *key) hasLeadingZero() bool { return k.point[0] == 0 || k.point[32] == 0 }

// selfSigned returns a certificate for a key. It is the same each time: a verifier may hold a copy
// that was made from a private key stored without its certificate. It never expires, since trust
// ends when the key is rotated and a verifier's list is changed.
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
	// Without a source of randomness CreateCertificate signs deterministically, as in RFC 6979.
	der, err := x509.CreateCertificate(nil, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of a signing key: %w", err)
	}
	return der, nil
}

// encode returns the key and its certificate in the form that parseKeys reads.
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

// parseKeys parses private keys in PKCS#8 PEM. A certificate after a key replaces the one that
// selfSigned would make.
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

// parsePrivate parses a private key in PKCS#8. It hides the error of the parser, which might quote
// the key.
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

// setCertificate replaces the certificate of the key, if it is for this key.
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

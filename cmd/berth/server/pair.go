package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// pair is a certificate chain with the key of its first certificate.
type pair struct {
	tls   tls.Certificate
	chain []*x509.Certificate
}

// readPair reads the files of a certificate and its key.
func readPair(c config.TLSConfig) (*pair, error) {
	chain, err := readChain(c.Certificate)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate %s: %w", c.Certificate, err)
	}
	key, err := readTLSKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.key %s: %w", c.Key, err)
	}
	for i, certificate := range chain {
		first, err := tls.X509KeyPair(encodeChain(chain[i:]...), key)
		switch {
		case err != nil: // the key is of another certificate
		case i > 0:
			return nil, fmt.Errorf("tls.certificate %s: the certificates are in the wrong order: "+
				"that of the server, which tls.key is for (%s), is number %d and must be the first, each before the one that signed it",
				c.Certificate, certificate.Subject, i+1)
		default:
			return &pair{tls: first, chain: chain}, nil
		}
	}
	return nil, fmt.Errorf(
		"tls.key %s is the key of no certificate in tls.certificate %s, of which the first is for %s: "+
			"expected the key that this certificate was requested with",
		c.Key, c.Certificate, chain[0].Subject)
}

// readChain reads the certificates of a file. Other PEM blocks are skipped, as crypto/tls does.
func readChain(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	var chain []*x509.Certificate
	key := false
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		key = key || strings.HasSuffix(block.Type, keyBlock)
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate number %d: %w", len(chain)+1, err)
		}
		chain = append(chain, certificate)
	}
	switch {
	case len(chain) == 0 && key:
		return nil, errors.New(
			"it has a private key and no certificate: the key belongs into tls.key, here the certificates are expected")
	case len(chain) == 0:
		return nil, errors.New(
			"it has no certificate in PEM (-----BEGIN CERTIFICATE-----); openssl x509 -inform der converts one in DER")
	}
	return chain, nil
}

func encodeChain(chain ...*x509.Certificate) []byte {
	var b bytes.Buffer // accepts every write
	for _, certificate := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	}
	return b.Bytes()
}

const keyBlock = "PRIVATE KEY" // or with a kind before it

// readTLSKey returns the content of a file with a private key that crypto/tls can use. The errors
// never quote the key.
func readTLSKey(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	certificate := false
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		certificate = certificate || block.Type == "CERTIFICATE"
		if !strings.HasSuffix(block.Type, keyBlock) {
			continue
		}
		if block.Type == "ENCRYPTED "+keyBlock || block.Headers["DEK-Info"] != "" {
			return nil, errors.New(
				"the key is encrypted: a server that starts unattended needs it in the clear, readable for its " +
					"user alone (openssl pkey -in FILE -out NEW)")
		}
		if !isPrivateKey(block.Bytes) {
			return nil, fmt.Errorf("the block %s is no private key in PKCS#8, PKCS#1 or SEC 1", block.Type)
		}
		return data, nil
	}
	if certificate {
		return nil, errors.New(
			"it has a certificate and no private key: " +
				"the certificate belongs into tls.certificate, here its key is expected")
	}
	return nil, errors.New("it has no private key in PEM (-----BEGIN PRIVATE KEY-----)")
}

func isPrivateKey(der []byte) bool {
	_, err8 := x509.ParsePKCS8PrivateKey(der)
	_, err1 := x509.ParsePKCS1PrivateKey(der)
	_, errEC := x509.ParseECPrivateKey(der)
	return err8 == nil || err1 == nil || errEC == nil
}

// withoutPath returns the reason of a failed read, for a text that names the file already.
func withoutPath(err error) error {
	var failed *os.PathError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// notAfter returns when the first certificate of the chain expires.
func (p *pair) notAfter() time.Time {
	end := p.chain[0].NotAfter
	for _, certificate := range p.chain[1:] {
		if certificate.NotAfter.Before(end) {
			end = certificate.NotAfter
		}
	}
	return end
}

// warnings returns what makes clients refuse the chain at a time.
func (p *pair) warnings(now time.Time) []string {
	var warnings []string
	for i, certificate := range p.chain {
		which := fmt.Sprintf("tls.certificate: certificate %d of %d (%s)", i+1, len(p.chain), certificate.Subject)
		switch {
		case now.After(certificate.NotAfter):
			warnings = append(warnings, fmt.Sprintf(
				"%s expired at %s: clients refuse it", which, certificate.NotAfter.UTC().Format(time.RFC3339)))
		case now.Before(certificate.NotBefore):
			warnings = append(warnings, fmt.Sprintf("%s is not valid before %s: clients refuse it, unless the clock here is wrong", which, certificate.NotBefore.UTC().Format(time.RFC3339)))
		}
		if i+1 < len(p.chain) && certificate.CheckSignatureFrom(p.chain[i+1]) != nil {
			warnings = append(warnings, fmt.Sprintf("%s is not signed by the next one (%s): some clients refuse a chain in the wrong order", which, p.chain[i+1].Subject))
		}
	}
	return warnings
}

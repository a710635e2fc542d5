package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// certificate is the certificate and key for new connections. Existing connections keep theirs.
type certificate struct {
	certFile, keyFile string
	pair              atomic.Pointer[tls.Certificate]
}

// loadCertificate reads the certificate and key for the first time.
func loadCertificate(c config.TLSConfig) (*certificate, error) {
	cert := &certificate{certFile: c.Certificate, keyFile: c.Key}
	return cert, cert.reload()
}

// reload reads both files again. It replaces the old pair only if the new certificate and key
// match, so the two files may be changed in any order.
func (c *certificate) reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("tls.certificate %s with tls.key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair.Store(&pair)
	return nil
}

// config returns the TLS configuration of a server with the certificate.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}

// openTLS reads the certificate, if one is configured.
func (s *server) openTLS(context.Context) error {
	if s.cfg.TLS.Certificate == "" {
		return nil
	}
	files := watchFiles("tls.certificate", s.cfg.TLS.Certificate, s.cfg.TLS.Key)
	var err error
	if s.certificate, err = loadCertificate(s.cfg.TLS); err != nil {
		return err
	}
	files.reload = s.certificate.reload
	s.watcher.add(files)
	return nil
}

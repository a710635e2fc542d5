package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// certificate is the certificate and key for new connections. Existing connections keep theirs.
type certificate struct {
	files config.TLSConfig
	log   *slog.Logger
	pair  atomic.Pointer[pair]
}

// reload reads both files again, and logs warnings about them. It replaces the old pair only if the
// new certificate and key match, so the two files may be changed in any order.
func (c *certificate) reload() error {
	p, err := readPair(c.files)
	if err != nil {
		return err
	}
	c.pair.Store(p)
	for _, warning := range p.warnings(time.Now()) {
		c.log.Warn(warning)
	}
	return nil
}

// config returns the TLS configuration of a server with the certificate.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c.pair.Load().tls, nil },
	}
}

// collector returns the metric of the certificate's end.
func (c *certificate) collector() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "berth_certificate_not_after_seconds",
		Help: "When the first of the certificates in tls.certificate expires, in seconds since 1970.",
	}, func() float64 { return float64(c.pair.Load().notAfter().Unix()) })
}

// openTLS reads the certificate, if one is configured. Check has warned about it.
func (s *server) openTLS(context.Context) error {
	if s.cfg.TLS.Certificate == "" {
		return nil
	}
	files := watchFiles("tls.certificate", s.cfg.TLS.Certificate, s.cfg.TLS.Key)
	p, err := readPair(s.cfg.TLS)
	if err != nil {
		return err
	}
	s.certificate = &certificate{files: s.cfg.TLS, log: s.log}
	s.certificate.pair.Store(p)
	files.reload = s.certificate.reload
	s.watcher.add(files)
	s.parts = append(s.parts, []prometheus.Collector{s.certificate.collector()})
	return nil
}

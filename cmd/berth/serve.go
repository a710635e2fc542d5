package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/meta"
)

func (c *console) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry until SIGTERM or an interrupt",
		Long: "Serves the registry. Without a setting it listens on 127.0.0.1:5000 and keeps everything in ./berth-data. Each flag is a\n" +
			"setting, which the configuration file and the environment know too: see `berth config check`.",
		Args: cobra.NoArgs,
	}
	configFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := loadFor(cmd.Flags(), c.environ)
		if err != nil {
			return err
		}
		return c.serve(cmd.Context(), l)
	}
	return cmd
}

// serve runs a server from the first directory to the last flushed line of its log.
func (c *console) serve(ctx context.Context, l *loaded) error {
	l.tune(c.environ)
	signal.Ignore(syscall.SIGPIPE) // when the reader of the log goes away, a write fails and no more
	log, lines, err := openLog(l.Log, c.stderr)
	if err != nil {
		return err
	}
	defer lines.close()
	slog.SetDefault(log) // which takes what libraries write by package log, too
	for _, name := range l.unknown {
		log.Warn("unknown environment variable, ignored", "name", name)
	}
	stop, hup := c.watchSignals(log, lines), c.hangups()
	warnings, err := l.checkFiles(ctx) // also those that only a registry with users reads, and this one may get some
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		log.Warn(warning)
	}
	s, err := c.open(ctx, &l.Config, log, lines)
	if err != nil {
		return err
	}
	err = errors.Join(s.run(ctx, stop, hup, func() { s.announce(c.stderr, lines) }), s.close())
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// server is the parts of a running registry, in the order in which they are opened.
type server struct {
	cfg      *Config
	log      *slog.Logger
	crash    func()         // ends the process after a panic
	closers  []func() error // of what is open; closed last to first
	rows     *meta.DB
	registry *storage.Registry
	parts    [][]prometheus.Collector // metrics of the parts
	audit    api.Auditor              // of audit.file; nil without one
	watcher  *watcher
	main     service
	debug    service // without a listener when debug.addr is unset
	front    front

	certificate *certificate // nil: plain HTTP
	admitted    admission
	access      *access // nil while the registry is open; once run, the goroutine of watch owns it
	password    string  // of the user that this start made, until it was announced
}

// service is an HTTP server and the listener it serves.
type service struct {
	*http.Server
	net.Listener
}

// open opens everything that serving needs. When it fails, nothing stays open. The first user is made last: a start that
// fails must not leave one behind whose password nobody saw.
func (c *console) open(ctx context.Context, cfg *Config, log *slog.Logger, lines *logQueue) (*server, error) {
	s := &server{cfg: cfg, log: log, crash: func() { lines.close(); c.exit(2) }, watcher: newWatcher(log)}
	s.parts = [][]prometheus.Collector{{lines.dropped}}
	for _, step := range []func(context.Context) error{
		s.openData, s.openStores, s.listen, s.openTLS, s.openAudit, s.admit, s.openMain, s.openDebug, s.recordAuth,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// openData makes and locks the data directory; a registry in memory has none.
func (s *server) openData(context.Context) error {
	if s.cfg.inMemory() {
		return nil
	}
	if err := makeDataDirs(s.cfg); err != nil {
		return err
	}
	lock, err := takeLock(s.cfg)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, lock.release)
	return nil
}

// openStores opens bytes, rows, and the registry over them.
func (s *server) openStores(ctx context.Context) error {
	bytes, err := s.openBucket(ctx)
	if err != nil {
		return fmt.Errorf("opening the bucket %s: %w", maskURL(s.cfg.Storage.Bucket), err)
	}
	rows, err := meta.Open(ctx, s.cfg.Database.URL, meta.Options{})
	if err != nil {
		return fmt.Errorf("opening the database %s: %w", maskURL(s.cfg.Database.URL), err)
	}
	s.rows = rows
	s.closers = append(s.closers, rows.Close)
	s.registry, err = storage.Open(ctx, rows, bytes, storage.Options{
		AllowMissing:  storage.AllowMissing(s.cfg.Manifests.AllowMissing),
		UploadExpiry:  s.cfg.Storage.UploadExpiry,
		DeleteDelay:   s.cfg.Storage.DeleteDelay,
		MaxSessions:   int64(s.cfg.Storage.UploadsPerCaller),
		MaxInProgress: int64(s.cfg.Storage.BytesPerCaller),
		CacheBytes:    int64(s.cfg.Manifests.Cache),
		Log:           s.log,
		Now:           time.Now,
	})
	if err != nil {
		return err
	}
	s.parts = append(s.parts, bytes.Collectors(), rows.Collectors(), s.registry.Collectors())
	return nil
}

// apiOptions are the API's, with authentication or without.
func (s *server) apiOptions() (api.Options, error) {
	proxies, err := parseProxies(s.cfg.HTTP.TrustedProxies)
	if err != nil {
		return api.Options{}, err
	}
	o := api.Options{
		Log:            s.log,
		Audit:          s.audit,
		ExternalURLs:   s.cfg.HTTP.ExternalURL,
		TrustedProxies: proxies,
		HSTS:           s.cfg.TLS.HSTS,
		MaxManifest:    int64(s.cfg.Manifests.MaxSize),
		ManifestMemory: int64(s.cfg.Manifests.Memory),
		HeaderTimeout:  s.cfg.HTTP.HeaderTimeout,
		BodyTimeout:    s.cfg.HTTP.BodyTimeout,
		LingerBytes:    int64(s.cfg.HTTP.LingerBytes),
		LingerTime:     s.cfg.HTTP.LingerTime,
		MaxHeaderBytes: s.cfg.HTTP.MaxHeaderBytes,
		Version:        version(),
	}
	if s.access == nil {
		o.Policy, o.Loopback, o.Hosts = auth.Open{}, s.checksHost(), s.cfg.HTTP.Hosts
		return o, nil
	}
	o.Policy = s.access.policy
	o.Auth = &api.Auth{Logins: s.access.logins, Tokens: s.access.tokens}
	return o, nil
}

// listen opens the address. From here on clients connect, and wait until run serves them.
func (s *server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.HTTP.Addr)
	if err != nil {
		return fmt.Errorf("http.addr: %w", err)
	}
	s.closers = append(s.closers, closeListener(l))
	s.main.Listener = l
	return nil
}

// openTLS reads the certificate, if there is one.
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

// onLoopback says whether only this machine reaches the address. A name means what the machine's resolver made of it.
func (s *server) onLoopback() bool {
	tcp, ok := s.main.Listener.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// checksHost says whether requests must name a host that means loopback or is listed in http.hosts: an open registry that
// only this machine can reach must not be reachable for web pages that its browsers show (DNS rebinding).
func (s *server) checksHost() bool {
	return s.onLoopback() && !slices.Contains(s.cfg.HTTP.Hosts, "*")
}

// openAudit opens the file of audit.file.
func (s *server) openAudit(context.Context) error {
	if s.cfg.Audit.File == "" {
		return nil
	}
	file, err := openAudit(s.cfg.Audit.File, s.log)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, file.close)
	s.parts = append(s.parts, []prometheus.Collector{file.dropped})
	s.audit = file
	s.watcher.add(&watched{name: "audit.file", reload: file.reopen}) // on SIGHUP only
	return nil
}

// showAPI makes an API of what is known now about who is let in, and lets it answer from here on.
func (s *server) showAPI() (*http.Server, error) {
	options, err := s.apiOptions()
	if err != nil {
		return nil, err
	}
	return s.front.show(api.New(s.registry, options)), nil
}

// openMain makes the server of the main address.
func (s *server) openMain(context.Context) (err error) {
	if s.main.Server, err = s.showAPI(); err != nil {
		return err
	}
	if s.certificate != nil {
		api.BoundHTTP2(s.main.Server, s.certificate.config())
	}
	return nil
}

// openDebug opens the address for operators, if there is one.
func (s *server) openDebug(ctx context.Context) error {
	if s.cfg.Debug.Addr == "" {
		return nil
	}
	metrics, err := newMetrics(append(s.parts, []prometheus.Collector{s.watcher.reloads, &s.front})...)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Debug.Addr)
	if err != nil {
		return fmt.Errorf("debug.addr: %w", err)
	}
	s.closers = append(s.closers, closeListener(l))
	s.debug = service{debugServer(metrics, s.log), l}
	return nil
}

// closeListener closes a listener that its server may have closed before.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// close closes what is open, last to first.
func (s *server) close() error {
	var wrong []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		wrong = append(wrong, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(wrong...)
}

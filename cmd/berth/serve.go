package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket"
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
	buf := newLogBuf(c.stderr)
	defer buf.flushing()()
	log, err := newLogger(l.Log, c.stderr, buf)
	if err != nil {
		return err
	}
	for _, name := range l.unknown {
		log.Warn("unknown environment variable, ignored", "name", name)
	}
	stop := c.watchSignals(log, buf)
	s, err := open(ctx, &l.Config, log)
	if err != nil {
		return err
	}
	err = errors.Join(s.run(ctx, stop, func() { s.announce(c.stderr, buf) }), s.close())
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// server is the parts of a running registry, in the order in which they are opened.
type server struct {
	cfg      *Config
	log      *slog.Logger
	closers  []func() error // of what is open; closed last to first
	registry *storage.Registry
	api      *api.API
	main     service
	debug    service // without a listener when debug.addr is unset
}

// service is an HTTP server and the listener it serves.
type service struct {
	*http.Server
	net.Listener
}

// open opens everything that serving needs. When it fails, nothing stays open.
func open(ctx context.Context, cfg *Config, log *slog.Logger) (s *server, err error) {
	s = &server{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.openData(); err != nil {
		return s, err
	}
	collectors, err := s.openStores(ctx)
	if err != nil {
		return s, err
	}
	s.api = api.New(s.registry, s.apiOptions())
	metrics, err := newMetrics(append(collectors, s.api.Collectors())...)
	if err != nil {
		return s, err
	}
	return s, s.listen(ctx, metrics)
}

// openData makes and locks the data directory; a registry in memory has none.
func (s *server) openData() error {
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

// openStores opens bytes, rows, and the registry over them, and returns their metrics.
func (s *server) openStores(ctx context.Context) ([][]prometheus.Collector, error) {
	options := bucket.Options{MinFree: int64(s.cfg.Storage.MinFree)}
	if file := s.cfg.databaseFile(); file != "" {
		options.Paths = []string{filepath.Dir(file)}
	}
	bytes, err := bucket.Open(ctx, s.cfg.Storage.Bucket, options)
	if err != nil {
		return nil, fmt.Errorf("opening the bucket %s: %w", maskURL(s.cfg.Storage.Bucket), err)
	}
	s.closers = append(s.closers, bytes.Close)
	if removed, err := bytes.Sweep(ctx); err != nil {
		return nil, fmt.Errorf("sweeping the bucket: %w", err)
	} else if removed > 0 {
		s.log.Info("swept temporary files of an earlier run", "files", removed)
	}
	rows, err := meta.Open(ctx, s.cfg.Database.URL, meta.Options{})
	if err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", maskURL(s.cfg.Database.URL), err)
	}
	s.closers = append(s.closers, rows.Close)
	s.registry, err = storage.Open(ctx, rows, bytes, storage.Options{
		AllowMissing: storage.AllowMissing(s.cfg.Manifests.AllowMissing),
		UploadExpiry: s.cfg.Storage.UploadExpiry,
		DeleteDelay:  s.cfg.Storage.DeleteDelay,
		CacheBytes:   int64(s.cfg.Manifests.Cache),
		Log:          s.log,
		Now:          time.Now,
	})
	if err != nil {
		return nil, err
	}
	return [][]prometheus.Collector{bytes.Collectors(), rows.Collectors(), s.registry.Collectors()}, nil
}

func (s *server) apiOptions() api.Options {
	return api.Options{
		Log:            s.log,
		Hosts:          s.cfg.HTTP.Hosts,
		Loopback:       s.cfg.checksHost(),
		MaxManifest:    int64(s.cfg.Manifests.MaxSize),
		ManifestMemory: int64(s.cfg.Manifests.Memory),
		HeaderTimeout:  s.cfg.HTTP.HeaderTimeout,
		BodyTimeout:    s.cfg.HTTP.BodyTimeout,
		MaxHeaderBytes: s.cfg.HTTP.MaxHeaderBytes,
		Policy:         auth.Open{},
		Version:        version(),
	}
}

// listen opens the addresses. From here on clients connect, and wait until run serves them.
func (s *server) listen(ctx context.Context, metrics *prometheus.Registry) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.HTTP.Addr)
	if err != nil {
		return fmt.Errorf("http.addr: %w", err)
	}
	s.closers = append(s.closers, closeListener(l))
	// A name such as localhost means what the machine's resolver says: look at what it came to.
	if tcp, ok := l.Addr().(*net.TCPAddr); s.cfg.Auth.Mode == "" && ok && !tcp.IP.IsLoopback() {
		return errOpenToAll(s.cfg.HTTP.Addr)
	}
	s.main = service{s.api.Server(), l}
	if s.cfg.Debug.Addr == "" {
		return nil
	}
	d, err := lc.Listen(ctx, "tcp", s.cfg.Debug.Addr)
	if err != nil {
		return fmt.Errorf("debug.addr: %w", err)
	}
	s.closers = append(s.closers, closeListener(d))
	s.debug = service{debugServer(metrics), d}
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

// announce says, once, where the registry is and how to push to it.
func (s *server) announce(stderr io.Writer, buf *logBuf) {
	addr, data := s.main.Listener.Addr().String(), s.cfg.Data
	if s.cfg.inMemory() {
		data = "memory"
	}
	push := "docker push " + pushAddr(s.main.Listener.Addr()) + "/NAME:TAG"
	if s.cfg.Log.Format != "json" && isTerminal(stderr) {
		fmt.Fprintf(buf, "berth %s serves http://%s, data in %s; push with: %s\n", version(), addr, data, push)
	} else {
		attrs := []any{"addr", addr, "data", data, "push", push, "version", version(), "pid", os.Getpid()}
		if s.debug.Listener != nil {
			attrs = append(attrs, "debug", s.debug.Listener.Addr().String())
		}
		s.log.Info("serving", attrs...)
	}
	buf.Flush()
}

// pushAddr is the registry's address as docker on this machine wants it: docker speaks plain HTTP with localhost.
func pushAddr(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && (tcp.IP.IsLoopback() || tcp.IP.IsUnspecified()) {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return addr.String()
}

// Package server has the parts of a running registry. Serve opens them in this order, serves until
// a signal or a failure, and stops in the order that loses least. Parts are closed in the reverse
// order.
//
//	log → data directory and locks → bucket, database, registry → listener → certificate →
//	audit file → authentication → API, behind its front → debug listener → first user
//
// While the registry runs, one goroutine watches files that may change, SIGHUP, signing keys, and
// whether an open registry gets its first user.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/meta"
)

// Process is what a server uses of its process.
type Process struct {
	Environ []string
	Stderr  io.Writer // takes the log
	Version string    // of the program

	Signals func() <-chan os.Signal // delivers interrupt and SIGTERM, which then no longer end the process
	Hangups func() <-chan os.Signal // likewise for SIGHUP
	Exit    func(code int)          // ends the process at once
}

// Serve runs a server, from making its directories to flushing its log. It returns nil when a
// signal has stopped the server, otherwise the error that kept it from serving.
func Serve(ctx context.Context, p Process, l *config.Loaded) error {
	tuneGC(l, p.Environ)
	signal.Ignore(syscall.SIGPIPE) // if the reader of the log goes away, writes fail instead
	log, lines, err := openLog(l.Log, p.Stderr)
	if err != nil {
		return err
	}
	defer lines.close()
	slog.SetDefault(log) // it also gets what libraries write by package log
	for _, name := range l.Unknown {
		log.Warn("unknown environment variable, ignored", "name", name)
	}
	stop, hup := p.watchSignals(log, lines), p.Hangups()
	notes, err := Check(ctx, l) // also what authentication needs, which the first user turns on later
	if err != nil {
		return err
	}
	logNotes(ctx, log, notes)
	s, err := open(ctx, p, l, log, lines)
	if err != nil {
		return err
	}
	dropStartGarbage()
	err = errors.Join(s.run(ctx, stop, hup, func() { s.announce(ctx, p.Stderr, lines) }), s.close())
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// server is the parts of a running registry, in the order in which they are opened.
type server struct {
	cfg      *config.Loaded
	version  string // of the program
	log      *slog.Logger
	crash    func()         // ends the process after a panic
	closers  []func() error // of the open parts, called last to first
	db       *db.DB
	rows     *rows.DB // the accounts in db
	signs    bool     // the bucket signs URLs
	registry *storage.Registry
	parts    [][]prometheus.Collector // metrics of the parts
	audit    api.Auditor              // nil without audit.file
	watcher  *watcher
	main     service
	debug    service // without a listener when debug.addr is unset
	front    front

	certificate *certificate // nil: plain HTTP
	admitted    admission
	access      *access // nil while the registry is open; after run has begun, owned by the goroutine of watch
	addedUser   bool    // this start has made the first user
}

// service is an HTTP server with its listener.
type service struct {
	*http.Server
	net.Listener
}

// open opens all parts. If it fails, it closes what it opened. The first user is made last, so that
// a start that fails leaves no user that was never announced.
func open(ctx context.Context, p Process, cfg *config.Loaded, log *slog.Logger, lines *logQueue) (*server, error) {
	crash := func() { lines.close(); p.Exit(2) }
	s := &server{cfg: cfg, version: p.Version, log: log, crash: crash, watcher: newWatcher(log)}
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

// openData makes and locks the data directory, if the registry uses it.
func (s *server) openData(context.Context) error {
	if !s.cfg.UsesData() {
		return nil
	}
	if err := MakeDataDirs(s.cfg); err != nil {
		return err
	}
	lock, err := takeLock(s.cfg.Data, s.cfg.DatabaseFile)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, lock.release)
	return nil
}

// openStores opens the bucket, the database, and the registry on both.
func (s *server) openStores(ctx context.Context) error {
	bytes, err := s.openBucket(ctx)
	if err != nil {
		return fmt.Errorf("opening the bucket %s: %w", config.MaskURL(s.cfg.Storage.Bucket), err)
	}
	if s.db, err = OpenDatabase(ctx, s.cfg, true); err != nil {
		return err
	}
	s.rows = rows.New(s.db)
	s.closers = append(s.closers, s.db.Close)
	s.registry, err = storage.Open(ctx, meta.New(s.db), bytes, storage.Options{
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
	s.parts = append(s.parts, bytes.Collectors(), s.db.Collectors(), s.registry.Collectors())
	return nil
}

// listen opens the main address. From here on clients can connect, but wait until run serves them.
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

// isLoopback reports whether a listener can be reached only from this machine. It looks at the
// address after names are resolved.
func isLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// closeListener returns a function that closes l. It is no error if the HTTP server has closed l
// before.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// close closes the open parts, last to first.
func (s *server) close() error {
	var wrong []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		wrong = append(wrong, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(wrong...)
}

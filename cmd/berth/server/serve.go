// Package server is the parts of a running registry. Serve opens them in this order, serves until a
// signal or a failure, and stops in the order that loses least. What is open is closed last to
// first.
//
//	log → data directory and locks → bucket, database, registry → listener → certificate →
//	audit file → who is let in → API, behind its front → debug listener → first user
//
// While the registry runs, one goroutine looks after files that change, SIGHUP, signing keys, and
// the first user of a registry that was open.
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
	"github.com/berth-registry/berth/internal/db/schema"
	"github.com/berth-registry/berth/internal/db/sqlite"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/meta"
)

// Process is what a server uses of the process that it runs in.
type Process struct {
	Environ []string
	Stderr  io.Writer // takes the log
	Version string    // of the program

	Signals func() <-chan os.Signal // from now on, interrupt and SIGTERM end nothing but come here
	Hangups func() <-chan os.Signal // likewise SIGHUP
	Exit    func(code int)          // ends the process at once
}

// Serve runs a server from the first directory to the last flushed line of its log. It returns when
// a signal has stopped the server, or with what kept it from serving.
func Serve(ctx context.Context, p Process, l *config.Loaded) error {
	tune(l, p.Environ)
	signal.Ignore(syscall.SIGPIPE) // when the reader of the log goes away, a write fails and no more
	log, lines, err := openLog(l.Log, p.Stderr)
	if err != nil {
		return err
	}
	defer lines.close()
	slog.SetDefault(log) // which takes what libraries write by package log, too
	for _, name := range l.Unknown {
		log.Warn("unknown environment variable, ignored", "name", name)
	}
	stop, hup := p.watchSignals(log, lines), p.Hangups()
	warnings, err := CheckFiles(ctx, l) // also those that only a registry with users reads, and this one may get some
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		log.Warn(warning)
	}
	s, err := open(ctx, p, l, log, lines)
	if err != nil {
		return err
	}
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
	closers  []func() error // of what is open; closed last to first
	db       *db.DB
	rows     *rows.DB // of accounts, in db
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

// open opens everything that serving needs. When it fails, nothing stays open. The first user is
// made last: a start that fails must not leave one behind whose password was never shown.
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

// openData makes and locks the data directory; a registry in memory has none.
func (s *server) openData(context.Context) error {
	if s.cfg.InMemory() {
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

// openStores opens bytes, rows, and the registry over them.
func (s *server) openStores(ctx context.Context) error {
	bytes, err := s.openBucket(ctx)
	if err != nil {
		return fmt.Errorf("opening the bucket %s: %w", config.MaskURL(s.cfg.Storage.Bucket), err)
	}
	s.db, err = sqlite.Open(ctx, s.cfg.Database.URL, schema.Current(), sqlite.Options{})
	if err != nil {
		return fmt.Errorf("opening the database %s: %w", config.MaskURL(s.cfg.Database.URL), err)
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

// onLoopback reports whether only this machine reaches the address. A name means what the machine's
// resolver made of it.
func (s *server) onLoopback() bool {
	tcp, ok := s.main.Listener.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
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

package server

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// watchInterval is how often files are looked at. A change is taken up when two looks in a row
	// see the same, within a second: what is half written is not read.
	watchInterval = 500 * time.Millisecond
	// upkeepInterval is how often signing keys and sessions are looked after.
	upkeepInterval = time.Minute
)

// watched is files that are read again, together, when one of them changes.
type watched struct {
	name   string // for logs and metrics: the setting that names them
	paths  []string
	reload func() error

	read    []os.FileInfo // the files when they were read last
	pending []os.FileInfo // the files when they were looked at last
}

// watchFiles notes what the files are now. It comes before they are read for the first time, so
// that no change is missed.
func watchFiles(name string, paths ...string) *watched {
	w := &watched{name: name, paths: paths}
	w.read = w.look()
	w.pending = w.read
	return w
}

// look finds the files; nil for those that are not there.
func (w *watched) look() []os.FileInfo {
	found := make([]os.FileInfo, len(w.paths))
	for i, path := range w.paths {
		if info, err := os.Stat(path); err == nil {
			found[i] = info
		}
	}
	return found
}

// changed reports whether the files are to be read: they are not what they were, and have come to
// rest.
func (w *watched) changed() bool {
	now := w.look()
	atRest := slices.EqualFunc(now, w.pending, sameFile)
	w.pending = now
	return atRest && !slices.EqualFunc(now, w.read, sameFile)
}

// sameFile reports whether a file is what it was: under the same name, which a rename or a symbolic
// link may have given to another one, of the same size and time.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// watcher reads files again when they change, or all of them when it is told to. Its goroutine owns
// it.
type watcher struct {
	log     *slog.Logger
	files   []*watched
	reloads *prometheus.CounterVec // by setting and result
}

func newWatcher(log *slog.Logger) *watcher {
	return &watcher{log: log, reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_reloads_total",
		Help: "Files that were read again after a change or on SIGHUP. A failed one leaves in force what was before.",
	}, []string{"setting", "result"})}
}

// add watches further files.
func (w *watcher) add(files ...*watched) {
	for _, f := range files {
		w.files = append(w.files, f)
		for _, result := range []string{"ok", "failed"} {
			w.reloads.WithLabelValues(f.name, result)
		}
	}
}

// check reads what has changed, or everything. A failure is logged once for each change.
func (w *watcher) check(everything bool) {
	for _, f := range w.files {
		if f.changed() || everything {
			w.reload(f)
		}
	}
}

func (w *watcher) reload(f *watched) {
	f.read = f.look()
	f.pending = f.read
	if err := f.reload(); err != nil {
		w.reloads.WithLabelValues(f.name, "failed").Inc()
		w.log.Error("reload failed, what was before stays in force", "setting", f.name, "error", err)
		return
	}
	w.reloads.WithLabelValues(f.name, "ok").Inc()
	w.log.Info("reloaded", "setting", f.name)
}

// watch looks after files, keys and the change from an open registry to one with users, until ctx
// ends. Its error is that of a registry that should no longer be open and cannot be anything else.
func (s *server) watch(ctx context.Context, hup <-chan os.Signal) error {
	look, upkeep := time.NewTicker(watchInterval), time.NewTicker(upkeepInterval)
	defer look.Stop()
	defer upkeep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			s.log.Info("SIGHUP: reading files again")
			s.watcher.check(true)
		case <-look.C:
			s.watcher.check(false)
		case <-upkeep.C:
			if s.access != nil {
				s.access.upkeep(ctx, s.log)
			}
		}
		if err := s.closeIfUsers(ctx); err != nil {
			return err
		}
	}
}

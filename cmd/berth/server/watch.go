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
	// watchInterval is how often files are checked. A change is loaded when two checks in a row see
	// the same state, that is within a second, so that no half-written file is read.
	watchInterval = 500 * time.Millisecond
	// upkeepInterval is how often signing keys are rotated and expired sessions removed.
	upkeepInterval = time.Minute
)

// watchedFiles is a group of files that are read again together when one of them changes.
type watchedFiles struct {
	name   string // the setting that names the files, for logs and metrics
	paths  []string
	reload func() error

	loaded []os.FileInfo // state before the last read
	seen   []os.FileInfo // state at the last check
}

// watchFiles records the state of the files. It must be called before their first read, so that no
// change is missed.
func watchFiles(name string, paths ...string) *watchedFiles {
	w := &watchedFiles{name: name, paths: paths}
	w.loaded = w.stat()
	w.seen = w.loaded
	return w
}

// stat returns the state of each file, nil if there is none.
func (w *watchedFiles) stat() []os.FileInfo {
	found := make([]os.FileInfo, len(w.paths))
	for i, path := range w.paths {
		if info, err := os.Stat(path); err == nil {
			found[i] = info
		}
	}
	return found
}

// changed reports whether the files are to be read again: they differ from what was last read, and
// have not changed since the last check.
func (w *watchedFiles) changed() bool {
	now := w.stat()
	atRest := slices.EqualFunc(now, w.seen, sameFile)
	w.seen = now
	return atRest && !slices.EqualFunc(now, w.loaded, sameFile)
}

// sameFile reports whether a path still has the same file, of the same size and time. A rename or a
// changed symbolic link gives it another file.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// watcher reads files again when they change, or all of them on SIGHUP. It belongs to one
// goroutine.
type watcher struct {
	log     *slog.Logger
	files   []*watchedFiles
	reloads *prometheus.CounterVec // by setting and result
}

func newWatcher(log *slog.Logger) *watcher {
	return &watcher{log: log, reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_reloads_total",
		Help: "Files that were read again after a change or on SIGHUP. A failed one leaves in force what was before.",
	}, []string{"setting", "result"})}
}

// add adds files to watch.
func (w *watcher) add(files ...*watchedFiles) {
	for _, f := range files {
		w.files = append(w.files, f)
		for _, result := range []string{"ok", "failed"} {
			w.reloads.WithLabelValues(f.name, result)
		}
	}
}

// check reads the changed files again, or all if everything is set. A failure is logged once for
// each change.
func (w *watcher) check(everything bool) {
	for _, f := range w.files {
		if f.changed() || everything {
			w.reload(f)
		}
	}
}

func (w *watcher) reload(f *watchedFiles) {
	f.loaded = f.stat()
	f.seen = f.loaded
	if err := f.reload(); err != nil {
		w.reloads.WithLabelValues(f.name, "failed").Inc()
		w.log.Error("reload failed, what was before stays in force", "setting", f.name, "error", err)
		return
	}
	w.reloads.WithLabelValues(f.name, "ok").Inc()
	w.log.Info("reloaded", "setting", f.name)
}

// watch watches files, keys, and whether an open registry gets its first user, until ctx ends. It
// returns an error if a registry that must no longer be open cannot turn authentication on.
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
		if err := s.enableAuthIfUsers(ctx); err != nil {
			return err
		}
	}
}

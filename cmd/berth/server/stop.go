package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchSignals returns a channel that is closed at the first signal. The second signal ends the
// process with code 1. It waits for the log for at most ExitTimeout.
func (p *Process) watchSignals(log *slog.Logger, lines *logQueue) (stop <-chan struct{}) {
	first, signals := make(chan struct{}), p.Signals()
	go func() {
		log.Info("stopping", "signal", (<-signals).String())
		close(first)
		log.Warn("a second signal: exit at once", "signal", (<-signals).String())
		lines.close()
		p.Exit(1)
	}()
	return first
}

// stop ends the service in the order that loses least. First it reports not ready to load balancers
// for a while. Then it closes the listener and waits for requests in flight. Uploads that do not
// finish in time record what arrived, so that their clients can continue after a restart. Finally
// it closes all connections.
func (s *server) stop(ctx context.Context) {
	s.front.SetReady(false)
	s.notify(daemon.SdNotifyStopping)
	sleep(ctx, s.cfg.Shutdown.Delay)
	s.front.StopLingering()
	if !shutdown(ctx, s.main.Server, s.cfg.Shutdown.Grace) {
		s.log.Warn("requests did not finish in shutdown.grace: uploads record what arrived", "grace", s.cfg.Shutdown.Grace)
		s.front.Interrupt()
		if !shutdown(ctx, s.main.Server, s.cfg.Shutdown.Record) {
			s.log.Warn("requests did not end in shutdown.record and are cut", "record", s.cfg.Shutdown.Record)
		}
	}
	servers := []*http.Server{s.main.Server}
	if s.debug.Server != nil {
		servers = append(servers, s.debug.Server)
	}
	for _, server := range servers {
		if err := server.Close(); err != nil {
			s.log.Warn("closing connections", "error", err)
		}
	}
}

// shutdown closes the listener and idle connections. It reports whether all requests ended within
// the limit.
func shutdown(ctx context.Context, server *http.Server, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return !errors.Is(server.Shutdown(ctx), context.DeadlineExceeded)
}

package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// watchSignals closes stop at the first signal. The second one ends the process at once, with
// code 1. Neither waits for the log, but the last line has LastWords to be written.
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

// stop ends the service in the order that loses least: load balancers are told, then no connection
// is taken any more, then requests in flight finish, then uploads that do not finish record what
// arrived so that their clients can go on after the restart. What is left after that is cut.
func (s *server) stop(ctx context.Context) {
	s.front.SetReady(false)
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

// shutdown stops listening, closes idle connections, and reports whether every request ended within
// the limit.
func shutdown(ctx context.Context, server *http.Server, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return !errors.Is(server.Shutdown(ctx), context.DeadlineExceeded)
}

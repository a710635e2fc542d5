package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	jobRetry    = time.Second // after the first failure in a row; doubled by each
	jobRetryMax = time.Minute
)

// run serves until stop is closed or a listener fails, and returns when every goroutine has ended.
// It calls ready once, when /readyz says so.
func (s *server) run(ctx context.Context, stop <-chan struct{}, hup <-chan os.Signal, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, failed := errgroup.WithContext(ctx)
	start := func(f func() error) { g.Go(func() error { return guard(s.log, s.crash, f) }) }
	start(s.main.run)
	if s.debug.Listener != nil {
		start(s.debug.run)
	}
	start(func() error { keepRunning(failed, s.log, s.registry.RunJobs); return nil })
	s.front.SetReady(true)
	ready()
	start(func() error { return s.watch(failed, hup) })
	start(func() error {
		select {
		case <-stop:
		case <-failed.Done():
		}
		s.stop(context.WithoutCancel(ctx))
		cancel()
		return nil
	})
	return g.Wait()
}

// run serves until the server is shut down, with TLS where the server has a certificate.
func (s service) run() error {
	serve := s.Serve
	if s.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
	}
	if err := serve(s.Listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// keepRunning keeps the registry's jobs running until ctx ends. What makes them fail, a full disk
// or a bucket out of reach, may pass, and pulls and pushes work without them: so they start again,
// after a pause that grows.
func keepRunning(ctx context.Context, log *slog.Logger, jobs func(context.Context) error) {
	pause := jobRetry
	for {
		begin := time.Now()
		err := jobs(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > jobRetryMax {
			pause = jobRetry
		}
		log.Error("background jobs ended and start again", "error", err, "pause", pause)
		sleep(ctx, pause)
		pause = min(2*pause, jobRetryMax)
	}
}

// sleep waits for d, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

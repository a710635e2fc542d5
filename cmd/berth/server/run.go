package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
)

const (
	jobRetry    = time.Second // after the first failure; doubled after each further one
	jobRetryMax = time.Minute
)

// run serves until stop is closed or a listener fails, and returns when all its goroutines have
// ended. It calls ready once, as soon as /readyz answers 200.
func (s *server) run(ctx context.Context, stop <-chan struct{}, hup <-chan os.Signal, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, failed := errgroup.WithContext(ctx)
	start := func(f func() error) { g.Go(func() error { return crashOnPanic(s.log, s.crash, f) }) }
	start(s.main.run)
	if s.debug.Listener != nil {
		start(s.debug.run)
	}
	start(func() error { keepRunning(failed, s.log, s.registry.RunJobs); return nil })
	s.front.SetReady(true)
	s.notify(daemon.SdNotifyReady)
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

// run serves until the server is shut down, with TLS if the server has a certificate.
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

// keepRunning runs the registry's jobs until ctx ends. If they fail it starts them again after a
// growing pause: the reason, such as a full disk or an unreachable bucket, may pass, and pulls and
// pushes work without the jobs.
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

// sleep returns after d, or earlier when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

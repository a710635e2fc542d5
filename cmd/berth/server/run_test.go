package server

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestJobsStartAgain: the pauses between starts of failing jobs grow to a minute, and start again
// from a second after jobs that ran for longer than that.
func TestJobsStartAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		log := slog.New(slog.NewTextHandler(&out, nil))
		ctx, cancel := context.WithCancel(t.Context())
		var pauses []time.Duration
		ended := time.Now()
		keepRunning(ctx, log, func(ctx context.Context) error {
			pauses = append(pauses, time.Since(ended))
			switch len(pauses) {
			case 10:
				time.Sleep(2 * jobRetryMax)
			case 12:
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
			ended = time.Now()
			return errors.New("no bucket")
		})
		want := []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 1, 2}
		for i := range want {
			if i >= len(pauses) || pauses[i] != want[i]*time.Second {
				t.Fatalf("pauses %v, want %v seconds", pauses, want)
			}
		}
		if n := strings.Count(out.String(), "no bucket"); n != len(want)-1 {
			t.Errorf("%d failures in the log:\n%s", n, out.String())
		}
	})
}

package server

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestD4SignalsDoNotWaitForTheLog: if nothing reads the log, the first signal acts at once and the
// second one after ExitTimeout. With a reader, both act at once.
func TestD4SignalsDoNotWaitForTheLog(t *testing.T) {
	for name, want := range map[string]time.Duration{"a reader": 0, "a reader that stands still": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out sink
				gate := make(chan struct{})
				if want == 0 {
					close(gate)
				} else {
					defer close(gate)
				}
				log, lines := startLog(t, "json", stalled{&out, gate})
				for range 10_000 {
					log.Warn(strings.Repeat("x", 500))
				}
				synctest.Wait() // the queue writes all that the reader takes
				signals, exits := make(chan os.Signal, 2), make(chan int, 1)
				p := Process{Signals: func() <-chan os.Signal { return signals }, Exit: func(code int) { exits <- code }}
				stop := p.watchSignals(log, lines)
				began := time.Now()
				signals <- syscall.SIGTERM
				<-stop
				signals <- syscall.SIGINT
				if code := <-exits; code != 1 || time.Since(began) != want {
					t.Errorf("exit code %d after %v", code, time.Since(began))
				}
				if got := out.String(); want == 0 && !strings.Contains(got, "a second signal: exit at once") {
					t.Error("the last words are not in the log")
				}
			})
		})
	}
}

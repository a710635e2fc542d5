package server

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestDebugServerLogs: errors of the debug address go to the log, not directly to standard error.
func TestDebugServerLogs(t *testing.T) {
	var out sink
	debugServer(prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&out, nil))).ErrorLog.Print("http: a panic")
	if got := out.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "http: a panic") {
		t.Errorf("got %q", got)
	}
}

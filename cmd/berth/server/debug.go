package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/berth-registry/berth/api/web"
)

// newMetrics returns a registry of metrics: those of the Go runtime, of the process, and of the
// parts.
func newMetrics(parts ...[]prometheus.Collector) (*prometheus.Registry, error) {
	metrics := prometheus.NewRegistry()
	wrong := []error{
		metrics.Register(collectors.NewGoCollector()),
		metrics.Register(collectors.NewBuildInfoCollector()),
		metrics.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	}
	for _, part := range parts {
		for _, c := range part {
			wrong = append(wrong, metrics.Register(c))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return metrics, nil
}

// debugServer serves metrics and profiles. It has its own mux, so that it serves nothing that
// packages add to net/http's default mux.
func debugServer(metrics *prometheus.Registry, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{Registry: metrics}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // serves also the named profiles
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// checkHost answers requests for other hosts with 421. Web pages could read the process's memory
// otherwise, by DNS rebinding.
func checkHost(hosts web.Hosts, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts.Allows("http", r.Host) {
			http.Error(w, "debug.addr does not answer for this host: expected a name of the loopback, a host of http.external_url, or one of http.hosts", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// openDebug opens the address for operators, if it is set.
func (s *server) openDebug(ctx context.Context) error {
	if s.cfg.Debug.Addr == "" {
		return nil
	}
	metrics, err := newMetrics(append(s.parts, []prometheus.Collector{s.watcher.reloads, &s.front})...)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Debug.Addr)
	if err != nil {
		return fmt.Errorf("debug.addr: %w", err)
	}
	s.closers = append(s.closers, closeListener(l))
	server := debugServer(metrics, s.log)
	if isLoopback(l) { // "*" in http.hosts does not count: no web page may read profiles
		server.Handler = checkHost(web.NewHosts(s.cfg.HostNames()), server.Handler)
	}
	s.debug = service{server, l}
	return nil
}

package server

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
)

// front hands requests to the API that answers now. That of an open registry gives way to one with
// authentication when the first user is made; requests that the old one has begun it also ends,
// writes only where the new one permits them.
type front struct {
	handler atomic.Pointer[http.Handler]

	mu    sync.Mutex
	apis  []*api.API // guarded by mu; the last one answers
	ready bool       // guarded by mu
}

// show lets an API answer every request from the next one on, and returns the server made for it,
// which hands its requests to the front.
func (f *front) show(a *api.API) *http.Server {
	server := a.Server()
	handler := server.Handler
	server.Handler = f
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.apis) > 0 {
		f.apis[len(f.apis)-1].Supersede(a)
	}
	f.apis = append(f.apis, a)
	a.SetReady(f.ready)
	f.handler.Store(&handler)
	return server
}

// ServeHTTP hands a request on.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*f.handler.Load()).ServeHTTP(w, r)
}

// SetReady decides what /readyz answers.
func (f *front) SetReady(ready bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready = ready
	for _, a := range f.apis {
		a.SetReady(ready)
	}
}

// StopLingering ends what is only read because it was answered already.
func (f *front) StopLingering() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.apis {
		a.StopLingering()
	}
}

// Interrupt lets uploads that are still coming in record what arrived.
func (f *front) Interrupt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.apis {
		a.Interrupt()
	}
}

// Describe describes nothing, which makes the front's metrics be those that Collect finds.
func (f *front) Describe(chan<- *prometheus.Desc) {}

// Collect collects the metrics of the API that answers now. Its counters begin anew, as after a
// restart.
func (f *front) Collect(metrics chan<- prometheus.Metric) {
	f.mu.Lock()
	a := f.apis[len(f.apis)-1]
	f.mu.Unlock()
	for _, c := range a.Collectors() {
		c.Collect(metrics)
	}
}

// apiOptions are the API's, with authentication or without.
func (s *server) apiOptions() api.Options {
	o := api.Options{
		Log:            s.log,
		Audit:          s.audit,
		ExternalURLs:   s.cfg.HTTP.ExternalURL,
		TrustedProxies: s.cfg.Proxies,
		HSTS:           s.cfg.TLS.HSTS,
		MaxManifest:    int64(s.cfg.Manifests.MaxSize),
		ManifestMemory: int64(s.cfg.Manifests.Memory),
		HeaderTimeout:  s.cfg.HTTP.HeaderTimeout,
		BodyTimeout:    s.cfg.HTTP.BodyTimeout,
		LingerBytes:    int64(s.cfg.HTTP.LingerBytes),
		LingerTime:     s.cfg.HTTP.LingerTime,
		MaxHeaderBytes: s.cfg.HTTP.MaxHeaderBytes,
		Version:        s.version,
	}
	if s.access == nil {
		o.Policy, o.Loopback, o.Hosts = auth.Open{}, s.checksHost(), s.cfg.HTTP.Hosts
		return o
	}
	o.Policy = s.access.policy
	o.Auth = &api.Auth{Logins: s.access.logins, Tokens: s.access.tokens}
	return o
}

// checksHost reports whether requests must name a host that means loopback or is listed in
// http.hosts: an open registry that only this machine can reach must not be reachable for web pages
// that its browsers show (DNS rebinding).
func (s *server) checksHost() bool {
	return s.onLoopback() && !slices.Contains(s.cfg.HTTP.Hosts, "*")
}

// showAPI makes an API of what is known now about who is let in, and lets it answer from here on.
func (s *server) showAPI() *http.Server { return s.front.show(api.New(s.registry, s.apiOptions())) }

// openMain makes the server of the main address.
func (s *server) openMain(context.Context) error {
	s.main.Server = s.showAPI()
	if s.certificate != nil {
		web.LimitHTTP2(s.main.Server, s.certificate.config())
	}
	return nil
}

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
	"github.com/berth-registry/berth/cmd/berth/config"
)

// front passes requests to the current API. When the first user is made, an API with authentication
// replaces that of the open registry. Requests that began on the old API also end there, but writes
// only if the new API permits them.
type front struct {
	handler atomic.Pointer[http.Handler]

	mu    sync.Mutex
	apis  []*api.API // guarded by mu; the last one is the current one
	ready bool       // guarded by mu
}

// install makes a the current API, for all requests from the next one on. It returns a's HTTP
// server with the front as its handler.
func (f *front) install(a *api.API) *http.Server {
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

// ServeHTTP passes a request to the current API.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*f.handler.Load()).ServeHTTP(w, r)
}

// SetReady sets whether /readyz answers 200.
func (f *front) SetReady(ready bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready = ready
	for _, a := range f.apis {
		a.SetReady(ready)
	}
}

// StopLingering stops reading the bodies of requests that are already answered.
func (f *front) StopLingering() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.apis {
		a.StopLingering()
	}
}

// Interrupt makes uploads in progress record the bytes that have arrived.
func (f *front) Interrupt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.apis {
		a.Interrupt()
	}
}

// Describe describes no metric. The collector is therefore unchecked, and its metrics are those of
// Collect.
func (f *front) Describe(chan<- *prometheus.Desc) {}

// Collect collects the metrics of the current API. A new API begins with counters of zero, as after
// a restart.
func (f *front) Collect(metrics chan<- prometheus.Metric) {
	f.mu.Lock()
	a := f.apis[len(f.apis)-1]
	f.mu.Unlock()
	for _, c := range a.Collectors() {
		c.Collect(metrics)
	}
}

// apiOptions returns the options of the API, with authentication unless the registry is open.
func (s *server) apiOptions() api.Options {
	o := api.Options{
		Log:            s.log,
		Audit:          s.audit,
		ExternalURLs:   s.cfg.HTTP.ExternalURL,
		CheckHost:      s.checksHost(),
		Hosts:          s.cfg.HostNames(),
		TrustedProxies: s.cfg.Proxies,
		HSTS:           s.cfg.TLS.HSTS,
		CORS:           web.CORS(s.cfg.HTTP.CORS),
		MaxManifest:    int64(s.cfg.Manifests.MaxSize),
		ManifestMemory: int64(s.cfg.Manifests.Memory),
		HeaderTimeout:  s.cfg.HTTP.HeaderTimeout,
		BodyTimeout:    s.cfg.HTTP.BodyTimeout,
		LingerBytes:    int64(s.cfg.HTTP.LingerBytes),
		LingerTime:     s.cfg.HTTP.LingerTime,
		MaxHeaderBytes: s.cfg.HTTP.MaxHeaderBytes,
		Version:        s.version,

		RelativeLocations: api.RelativeLocations(s.cfg.HTTP.Locations),
	}
	if redirect := s.cfg.Storage.Redirect; redirect.Enabled && s.signs {
		o.Redirect = api.Redirect{Expiry: redirect.Expiry, MinSize: int64(redirect.MinSize), Networks: s.cfg.RedirectNetworks}
	}
	if s.access == nil {
		o.Policy = auth.Open{}
		return o
	}
	o.Policy = s.access.policy
	o.Auth = &api.Auth{Logins: s.access.logins, Tokens: s.access.tokens}
	return o
}

// checksHost reports whether requests must name a host that means loopback or is one of
// HostNames. It is always so for an open registry on loopback: web pages in a browser on this
// machine could reach it otherwise (DNS rebinding).
func (s *server) checksHost() bool {
	openOnLoopback := s.access == nil && isLoopback(s.main.Listener)
	return (openOnLoopback || s.cfg.HTTP.StrictHosts) && !s.admitsAnyHost()
}

// admitsAnyHost reports whether http.hosts turns the check of hosts off.
func (s *server) admitsAnyHost() bool { return slices.Contains(s.cfg.HTTP.Hosts, config.AnyHost) }

// installAPI makes an API for the current state of authentication and installs it.
func (s *server) installAPI() *http.Server {
	return s.front.install(api.New(s.registry, s.apiOptions()))
}

// openMain makes the HTTP server of the main address.
func (s *server) openMain(context.Context) error {
	s.main.Server = s.installAPI()
	if s.certificate != nil {
		web.LimitHTTP2(s.main.Server, s.certificate.config())
	}
	return nil
}

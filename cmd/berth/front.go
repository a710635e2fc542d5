package main

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/api"
)

// front hands requests to the API that answers now. That of an open registry gives way to one with authentication when the
// first user is made; requests that the old one has begun it also ends,
// writes only where the new one permits them.
type front struct {
	handler atomic.Pointer[http.Handler]

	mu    sync.Mutex
	apis  []*api.API // guarded by mu; the last one answers
	ready bool       // guarded by mu
}

// show lets an API answer every request from the next one on, and returns the server made for it, which hands its requests
// to the front.
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

// SetReady says what /readyz answers.
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

// Collect collects the metrics of the API that answers now. Its counters begin anew, as after a restart.
func (f *front) Collect(metrics chan<- prometheus.Metric) {
	f.mu.Lock()
	a := f.apis[len(f.apis)-1]
	f.mu.Unlock()
	for _, c := range a.Collectors() {
		c.Collect(metrics)
	}
}

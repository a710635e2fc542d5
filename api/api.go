// Package api is the registry's protocol over HTTP: the OCI distribution spec
// 1.1 and Docker's registry API v2.
//
// Each request is routed, its path parsed and checked once, its caller identified and the policy
// asked once, and then handed to a handler that calls package storage and returns an error or nil.
// One function turns errors into answers. The package guarantees that a body is never ended as if
// it were whole when it is not, that no client holds a connection by silence (header timeout, body
// timeout, both counted from the last byte), and that the memory for manifests has one bound.
package api

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/api/catalog"
	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
)

// Registry is what the protocol is spoken for. *storage.Registry is one.
type Registry interface {
	storage.Manifests
	storage.Blobs
	storage.Uploads
	storage.Lists
}

// Options are the settings of an API. Zero values mean the defaults named.
type Options struct {
	// Log takes one line for each request and one for each internal error;
	// none by default.
	Log *slog.Logger
	// Loopback is set for an open registry on a loopback address. It then answers only requests
	// whose Host means the loopback or is one of Hosts, so that no web page reaches it by DNS
	// rebinding.
	Loopback bool
	Hosts    []string // "registry.lan" or "registry.lan:5000"
	// MaxManifest is the largest manifest taken, in bytes; 4 MiB by default.
	MaxManifest int64
	// ManifestMemory bounds the bytes of all manifests being received or sent, half of it each; 64
	// MiB by default, and MaxManifest at least. A quarter of it comes on top for the first
	// headBytes of each that is received, and as much for those being parsed.
	ManifestMemory int64
	// These are those of web.Options, which has their meanings and defaults.
	HeaderTimeout  time.Duration
	BodyTimeout    time.Duration
	LingerBytes    int64
	LingerTime     time.Duration
	MaxHeaderBytes int
	TrustedProxies []netip.Prefix
	HSTS           time.Duration
	Version        string
	// Policy decides who may do what. Without one everything but the ping and
	// the health checks is denied.
	Policy auth.Policy
	// ExternalURLs are those under which clients reach the registry, where it cannot tell them
	// itself: "https://r.example". Without any it believes the request's Host. Web pages of these
	// origins may write.
	ExternalURLs []string
	// Auth authenticates callers. Without it every request is unauthenticated, and there are no
	// tokens.
	Auth *Auth
	// Audit takes the lines of the audit; none by default. Log takes them too
	// where there is an Auth, and may drop some.
	Audit Auditor
	// Now is the clock by which a session's lifetime is told, and a warning given
	// again; time.Now by default.
	Now func() time.Time
}

const (
	defaultMaxManifest    = 4 << 20
	defaultManifestMemory = 64 << 20
)

// API answers requests for one Registry.
type API struct {
	registry Registry
	options  Options
	policy   auth.Policy
	catalog  *catalog.Catalog
	auth     *Auth
	log      *slog.Logger
	auditor  Auditor // nil for none
	router   *router
	web      *web.Server
	bases    []base       // of Options.ExternalURLs
	warned   atomic.Int64 // when plainWarning was last given, in Unix nanoseconds
	metrics  *metrics
	heads    *budget // the first headBytes of manifests being received
	received *budget // manifests being received that are longer
	answers  *budget // manifests being sent that the cache does not have
	parsing  *budget // manifests being parsed and stored
	ready    atomic.Bool

	successor atomic.Pointer[API] // answers since; nil while this one does
}

// New makes an API. It is not ready until SetReady says so.
func New(registry Registry, o Options) *API {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Policy == nil {
		o.Policy = closed{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.MaxManifest = defaulted(o.MaxManifest, defaultMaxManifest)
	o.ManifestMemory = max(defaulted(o.ManifestMemory, defaultManifestMemory), o.MaxManifest)
	a := &API{
		registry: registry,
		options:  o,
		policy:   o.Policy,
		catalog:  catalog.New(registry, catalogBytes),
		auth:     o.Auth,
		log:      o.Log,
		auditor:  o.Audit,
		bases:    newBases(o.ExternalURLs),
		metrics:  newMetrics(),
		heads:    newBudget(o.ManifestMemory/4, headBytes),
		received: newBudget(o.ManifestMemory/2, o.MaxManifest),
		answers:  newBudget(o.ManifestMemory/2, o.MaxManifest),
		parsing:  newBudget(o.ManifestMemory/parseFactor, o.MaxManifest),
	}
	a.web = web.New(a.webOptions())
	table := routes()
	if a.auth != nil {
		table = append(table, authRoutes()...)
	}
	a.router = newRouter(table, a.metrics)
	return a
}

// webOptions returns the settings of what every HTTP answer shares.
func (a *API) webOptions() web.Options {
	o := a.options
	w := web.Options{
		Log:            o.Log,
		CheckHost:      o.Loopback,
		Hosts:          o.Hosts,
		HeaderTimeout:  o.HeaderTimeout,
		BodyTimeout:    o.BodyTimeout,
		LingerBytes:    o.LingerBytes,
		LingerTime:     o.LingerTime,
		Drained:        func(bytes int) { a.metrics.received.Add(float64(bytes)) },
		ClientNetwork:  auth.ClientNetwork,
		MaxHeaderBytes: o.MaxHeaderBytes,
		TrustedProxies: o.TrustedProxies,
		HSTS:           o.HSTS,
		Version:        o.Version,
	}
	for _, b := range a.bases {
		w.Origins = append(w.Origins, b.url)
	}
	return w
}

func defaulted(v, otherwise int64) int64 {
	if v <= 0 {
		return otherwise
	}
	return v
}

// closed is the policy of an API that was given none.
type closed struct{}

func (closed) Decide(_ auth.Identity, _ netip.Addr, p auth.Permission, _ string) auth.Decision {
	return auth.Decision{Allowed: p == auth.None, Rule: "no policy"}
}

func (closed) View(auth.Identity, netip.Addr) auth.View { return auth.View{} }

func (closed) AllowsAnonymous() bool { return false }

// audits reports whether there is an audit, in the log or elsewhere.
func (a *API) audits() bool { return a.auth != nil || a.auditor != nil }

// SetReady decides what /readyz says. It changes nothing else.
func (a *API) SetReady(ready bool) { a.ready.Store(ready) }

// Supersede tells the API that another one answers from here on. Writes that this one has begun
// happen only if the other one permits them, too.
func (a *API) Supersede(next *API) { a.successor.Store(next) }

// Server makes the HTTP server that serves this API. The caller owns it: it gives it
// a listener and shuts it down.
func (a *API) Server() *http.Server { return a.web.HTTP(http.HandlerFunc(a.serve)) }

// StopLingering ends the reading of what is left of bodies after their answers,
// now and from now on, so that a shutdown does not wait for it.
func (a *API) StopLingering() { a.web.StopLingering() }

// Interrupt ends the reading of every body that is still coming in, now and
// from now on, so that uploads record what arrived. It is for the end of a
// shutdown, when waiting has taken long enough.
func (a *API) Interrupt() { a.web.Interrupt() }

// Collectors returns the metrics of this API, for the caller to register.
func (a *API) Collectors() []prometheus.Collector { return a.metrics.collectors() }

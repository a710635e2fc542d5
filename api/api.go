// Package api serves the OCI distribution spec 1.1 and Docker's registry API v2 over HTTP.
//
// Each request passes the same steps before its handler runs: its host and origin are checked, its
// path is routed and parsed, its caller is authenticated, and the policy decides. The handler calls
// package storage and returns nil or an error. One function, answer, turns errors into answers.
//
// The package guarantees that
//
//   - an answer that is not whole never ends as if it were.
//   - no client holds a connection by silence: header, body and answer have deadlines (see package
//     web).
//   - the memory for manifests that are received, parsed or sent is bounded.
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

// Registry is what the API serves. *storage.Registry implements it.
type Registry interface {
	storage.Manifests
	storage.Blobs
	storage.Uploads
	storage.Lists
}

// Options are the settings of an API. Zero values mean the defaults named.
type Options struct {
	// Log receives one line for each request and one for each internal error; none by default.
	Log *slog.Logger
	// CheckHost makes the API answer only requests whose Host is a loopback name or address, or one
	// of Hosts: a web page cannot reach it by DNS rebinding. Health checks are answered all the
	// same.
	CheckHost bool
	Hosts     []string // "registry.lan", which admits every port, or "registry.lan:5000"
	// MaxManifest is the size of the largest manifest that is accepted, in bytes; 4 MiB by default.
	MaxManifest int64
	// ManifestMemory bounds the memory for manifests, in bytes; 64 MiB by default, and MaxManifest
	// at least. One half is for manifests being received, the other for those being sent. On top of
	// that come a quarter for the first headBytes of each manifest being received, and a quarter
	// for manifests being parsed.
	ManifestMemory int64
	// The following are passed to web.Options, which documents them and their defaults.
	HeaderTimeout  time.Duration
	BodyTimeout    time.Duration
	LingerBytes    int64
	LingerTime     time.Duration
	MaxHeaderBytes int
	TrustedProxies []netip.Prefix
	HSTS           time.Duration
	CORS           web.CORS
	Version        string
	// Policy decides which caller may do what. Without one everything but the ping and the health
	// checks is denied.
	Policy auth.Policy
	// ExternalURLs are the URLs under which clients reach the registry, such as
	// "https://r.example". They are needed where a proxy hides them. Without any the URL is made
	// from the request's Host. Web pages of these origins may write.
	ExternalURLs []string
	// RelativeLocations is RelativeAuto by default.
	RelativeLocations RelativeLocations
	// Auth authenticates callers. Without it every request is unauthenticated, and the API issues
	// no tokens.
	Auth *Auth
	// Audit receives the audit lines; none by default. Where there is an Auth, Log receives them
	// too, but may drop some.
	Audit Auditor
	// Redirect selects the GETs of blobs that are answered with a redirect to the store; none by
	// default.
	Redirect Redirect
	// Now is the clock for the lifetimes of login sessions, for repeated authorization and for
	// repeated warnings; time.Now by default.
	Now func() time.Time
}

const (
	defaultMaxManifest    = 4 << 20
	defaultManifestMemory = 64 << 20
)

// API answers requests for one Registry.
type API struct {
	registry      Registry
	options       Options
	policy        auth.Policy
	catalog       *catalog.Catalog
	auth          *Auth
	log           *slog.Logger
	auditor       Auditor // nil for none
	router        *router
	web           *web.Server
	baseURLs      []baseURL    // of Options.ExternalURLs
	plainWarnedAt atomic.Int64 // last warning about plain HTTP, in Unix nanoseconds
	hostWarned    atomic.Bool  // a loopback host from a proxy was warned of
	metrics       *metrics
	headBudget    *budget // for the first headBytes of manifests being received
	receiveBudget *budget // for longer manifests being received
	sendBudget    *budget // for manifests being sent that are not in the cache
	parseBudget   *budget // for manifests being parsed and stored
	ready         atomic.Bool

	successor atomic.Pointer[API] // set by Supersede; nil while this API serves new requests
}

// New returns an API. It reports that it is not ready until SetReady(true).
func New(registry Registry, o Options) *API {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Policy == nil {
		o.Policy = denyAll{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.MaxManifest = orDefault(o.MaxManifest, defaultMaxManifest)
	o.ManifestMemory = max(orDefault(o.ManifestMemory, defaultManifestMemory), o.MaxManifest)
	a := &API{
		registry:      registry,
		options:       o,
		policy:        o.Policy,
		catalog:       catalog.New(registry, catalogBytes),
		auth:          o.Auth,
		log:           o.Log,
		auditor:       o.Audit,
		baseURLs:      newBaseURLs(o.ExternalURLs),
		metrics:       newMetrics(),
		headBudget:    newBudget(o.ManifestMemory/4, headBytes),
		receiveBudget: newBudget(o.ManifestMemory/2, o.MaxManifest),
		sendBudget:    newBudget(o.ManifestMemory/2, o.MaxManifest),
		parseBudget:   newBudget(o.ManifestMemory/parseFactor, o.MaxManifest),
	}
	a.web = web.New(a.webOptions())
	table := routes()
	if a.auth != nil {
		table = append(table, authRoutes()...)
	}
	a.router = newRouter(table, a.metrics)
	return a
}

// webOptions returns the settings of package web.
func (a *API) webOptions() web.Options {
	o := a.options
	w := web.Options{
		Log:            o.Log,
		CheckHost:      o.CheckHost,
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
		CORS:           o.CORS,
		Version:        o.Version,
	}
	for _, b := range a.baseURLs {
		w.Origins = append(w.Origins, b.url)
	}
	return w
}

func orDefault(v, otherwise int64) int64 {
	if v <= 0 {
		return otherwise
	}
	return v
}

// denyAll is the policy of an API without a policy.
type denyAll struct{}

func (denyAll) Decide(_ auth.Identity, _ netip.Addr, p auth.Permission, _ string) auth.Decision {
	return auth.Decision{Allowed: p == auth.None, Rule: "no policy"}
}

func (denyAll) View(auth.Identity, netip.Addr) auth.View { return auth.View{} }

func (denyAll) AllowsAnonymous() bool { return false }

// hasAudit reports whether audit lines are written, to the log or to an Auditor.
func (a *API) hasAudit() bool { return a.auth != nil || a.auditor != nil }

// SetReady sets whether /readyz answers 200 or 503. It has no other effect.
func (a *API) SetReady(ready bool) { a.ready.Store(ready) }

// Supersede makes next the API for new requests. Writes that this API has begun are authorized by
// next before they are stored.
func (a *API) Supersede(next *API) { a.successor.Store(next) }

// Server returns an HTTP server of this API. The caller owns it: it gives it a listener and shuts
// it down.
func (a *API) Server() *http.Server { return a.web.HTTP(http.HandlerFunc(a.serve)) }

// StopLingering ends all draining of request bodies after an early answer, now and in the future,
// so that a shutdown does not wait for it.
func (a *API) StopLingering() { a.web.StopLingering() }

// Interrupt ends the reading of every request body, now and in the future. Uploads record the bytes
// that arrived. It is called at the end of a shutdown, when the time for waiting is over.
func (a *API) Interrupt() { a.web.Interrupt() }

// Collectors returns the metrics of this API, for the caller to register.
func (a *API) Collectors() []prometheus.Collector { return a.metrics.collectors() }

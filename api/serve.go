package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
)

// exchange is one request with its answer, in one allocation.
type exchange struct {
	web.Exchange
	api   *API
	r     request
	meter *meter // nil when no operation was found
	quiet bool   // a health check: logged at debug level

	permission auth.Permission // of the operation; "" when none was found
}

// serve answers one request.
func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	a.metrics.inFlight.Inc()
	x := &exchange{api: a, r: request{Request: r}}
	a.web.Serve(&x.Exchange, w, r, x)
}

// Answer runs the handler and answers the error, if there is one.
func (x *exchange) Answer() {
	x.r.id, x.r.origin, x.r.body = x.ID, x.Origin, x.Body
	if err := x.api.dispatch(x); err != nil {
		x.api.answer(&x.Response, &x.r, err)
	}
}

// Done counts and logs the request, and writes the audit line of a write.
func (x *exchange) Done() {
	a, took := x.api, time.Since(x.Began)
	a.metrics.observe(x, took)
	a.logRequest(x, took)
	if a.hasAudit() {
		a.auditWrite(x)
	}
}

// dispatch routes the request, checks its host and origin, parses and authorizes it, and runs its
// handler. Health checks are answered for every host: they tell a web page nothing, and load
// balancers send addresses or no Host at all.
func (a *API) dispatch(x *exchange) error {
	r, w := &x.r, &x.Response
	h := w.Header()
	isProtocol := r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/")
	if isProtocol {
		h["Docker-Distribution-Api-Version"] = apiVersion
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			a.setCaching(h)
		}
		a.web.AllowOrigin(w, r.Request)
	}
	if n := max(len(r.URL.Path), len(r.URL.RawPath)); n > maxPath {
		return manifest.Errorf(errLongPath, "the path has %d bytes, at most %d are taken", n, maxPath)
	}
	ep, name, last := a.router.match(r.Request)
	if ep == nil || !ep.health {
		if err := a.checkHost(r); err != nil {
			return err
		}
	}
	if err := a.checkOrigin(r); err != nil {
		return err
	}
	if ep == nil {
		return errNoRoute
	}
	r.route, x.quiet = ep.name, ep.health
	r.rawRepo, r.rawElement = name, last
	if isProtocol && a.web.IsPreflight(r.Request) {
		a.web.AnswerPreflight(w, ep.allow) // before authentication: a preflight has no credentials
		return nil
	}
	op, ok := ep.methods[r.Method]
	if !ok {
		h.Set("Allow", ep.allow)
		return manifest.Errorf(errMethodNotAllowed, "this path takes %s", ep.allow)
	}
	x.meter, x.permission = op.meter, op.permission
	if err := r.parse(op.element, name, last); err != nil {
		return err
	}
	if err := a.authorize(w, r, op); err != nil {
		return err
	}
	return op.handle(a, w, r)
}

// charged returns the account or network that memory and upload sessions of the request are charged
// to.
func (a *API) charged(r *request) charged {
	if owner := r.caller.Owner(); owner != "" {
		return charged{owner: owner}
	}
	return charged{network: auth.ClientNetwork(r.origin.Addr)}
}

// maxPath bounds a path in bytes, escaped and decoded. The longest valid path has a repository name
// of 255 bytes, a digest of 135 and less than 50 bytes around them.
const maxPath = 1024

var apiVersion = []string{"registry/2.0"}

// setCaching sets the header fields by which no cache gives an answer to another caller, or without
// asking again. Answers to other methods than GET and HEAD are not kept unless a field says so (RFC
// 9110, section 9.2.3). In an open registry answers are the same for every caller, but tags move,
// content is deleted, and the registry may get users. Handlers replace the field for answers that
// are secret.
func (a *API) setCaching(h http.Header) {
	if a.auth == nil {
		h["Cache-Control"] = noCache
		return
	}
	h["Cache-Control"] = privateNoCache
	h.Add("Vary", "Authorization")
}

var (
	noCache        = []string{"no-cache"}
	privateNoCache = []string{"private, no-cache"}
)

// checkOrigin denies writes and preflights that a browser sends for a web page of another origin.
func (a *API) checkOrigin(r *request) error {
	if err := a.web.CheckOrigin(r.Request); err != nil {
		return manifest.Errorf(errCrossOrigin, "web pages of other origins may not do this: expected an origin of http.external_url or http.cors.origins, or none")
	}
	return nil
}

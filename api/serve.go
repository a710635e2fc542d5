package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
)

// exchange is one request and its answer, made in one allocation.
type exchange struct {
	w     response
	r     request
	meter *meter // nil when no handler was found
	quiet bool   // a health check: logged for debugging only
	over  bool   // counted and logged
	early bool   // answered before the end of its body, which net/http leaves to us

	permission auth.Permission // of the operation; "" when no handler was found
}

// serve answers one request.
func (a *API) serve(inner http.ResponseWriter, r *http.Request) {
	x := a.begin(inner, r)
	defer a.release(x) // also when a handler panics, which net/http logs
	if err := a.dispatch(x); err != nil {
		a.answer(&x.w, &x.r, err)
	}
	if x.w.status == 0 {
		x.w.WriteHeader(http.StatusOK)
	}
	x.w.extend(time.Now()) // net/http has a rest to flush
	if x.w.err != nil || x.w.short() {
		x.abort()
	}
	a.linger(x)
}

// abort ends the connection, which is the one way not to end an answer on it.
func (x *exchange) abort() {
	if x.r.body != nil {
		x.r.body.interrupt() // net/http would read a little more of it
	}
	panic(http.ErrAbortHandler)
}

func (a *API) begin(inner http.ResponseWriter, r *http.Request) *exchange {
	a.metrics.inFlight.Inc()
	control := http.NewResponseController(inner)
	x := &exchange{
		w: response{
			inner: inner, control: control, buffers: &a.buffers,
			timeout: a.options.BodyTimeout, head: r.Method == http.MethodHead,
		},
		r: request{Request: r, id: a.ids.of(r), began: time.Now()},
	}
	if r.ProtoMajor < 2 {
		x.w.extend(x.r.began) // "100 Continue" is written before we write anything
	} // A stream of HTTP/2 would end with its deadline also while nothing is written, and with it a long upload.
	switch {
	case r.ContentLength == 0:
	case r.ProtoMajor >= 2 && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		// Nobody reads it. What comes of it would be kept, streamBuffer at the most, for as long as the answer takes.
		_ = r.Body.Close()
	default:
		x.r.body = newBody(r.Body, control, a.options.BodyTimeout, r.Header.Get("Expect") != "")
		// net/http reads on after us, which this bounds too.
		_ = x.r.body.extend(x.r.began)
		a.bodies.add(x.r.body)
		if r.ProtoMajor < 2 {
			x.w.answering = func() { a.answering(x) }
		}
	}
	return x
}

// release ends a request, and what is known of its body.
func (a *API) release(x *exchange) {
	a.end(x)
	if x.r.body != nil {
		a.bodies.remove(x.r.body)
		a.lingers.leave(x.r.body)
	}
}

// end counts and logs a request, once.
func (a *API) end(x *exchange) {
	if x.over {
		return
	}
	x.over = true
	if x.w.status == 0 { // a panic: net/http closes the connection
		x.w.status = http.StatusInternalServerError
	}
	took := time.Since(x.r.began)
	a.metrics.observe(x, took)
	a.logRequest(x, took)
	if a.audits() {
		a.auditWrite(x)
	}
}

// dispatch does what comes before every handler: the host is checked, the path
// routed and parsed, and the request permitted.
func (a *API) dispatch(x *exchange) error {
	r, w := &x.r, &x.w
	h := w.Header()
	h["X-Content-Type-Options"] = noSniff
	h["X-Request-Id"] = []string{r.id}
	if path := r.URL.Path; path == "/v2" || strings.HasPrefix(path, "/v2/") {
		h["Docker-Distribution-Api-Version"] = apiVersion
	}
	if a.options.Version != "" {
		h["Server"] = []string{"berth/" + a.options.Version}
	}
	if a.locates {
		r.origin = a.originOf(r.Request)
		if a.hsts != nil && r.origin.secure() {
			h["Strict-Transport-Security"] = a.hsts
		}
	}
	if !a.hosts.allow(r.Host) {
		return manifest.Errorf(errMisdirected, "this registry does not answer for the host %q: an open registry answers for the names of the loopback and for those in http.hosts", shortened(r.Host))
	}
	if err := a.checkOrigin(r); err != nil {
		return err
	}
	if n := max(len(r.URL.Path), len(r.URL.RawPath)); n > maxPath {
		return manifest.Errorf(errLongPath, "the path has %d bytes, at most %d are taken", n, maxPath)
	}
	ep, name, last := a.router.match(r.Request)
	if ep == nil {
		return errNoRoute
	}
	r.route, x.quiet = ep.name, ep.health
	op, ok := ep.methods[r.Method]
	if !ok {
		r.rawRepo, r.rawElement = name, last
		h.Set("Allow", ep.allow)
		return manifest.Errorf(errMethod, "this path takes %s", ep.allow)
	}
	x.meter, x.permission = op.meter, op.permission
	if err := r.parse(op.element, name, last); err != nil {
		return err
	}
	if err := a.permit(w, r, op); err != nil {
		return err
	}
	return op.handle(a, w, r)
}

// payer returns who is charged for what a request holds: the account or, without one, the network of
// the client's address.
func (a *API) payer(r *request) payer {
	if owner := r.caller.Owner(); owner != "" {
		return payer{owner: owner}
	}
	o := r.origin
	if !o.addr.IsValid() {
		o = a.originOf(r.Request)
	}
	return payer{network: auth.Network(o.addr)}
}

// maxPath bounds a path in bytes, as it was sent and decoded. The longest that means anything has a
// repository name of 255 bytes, a digest of 135 and less than 50 around them.
const maxPath = 1024

var (
	noSniff    = []string{"nosniff"}
	apiVersion = []string{"registry/2.0"}
)

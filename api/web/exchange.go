package web

import (
	"cmp"
	"net/http"
	"time"
)

// Handler answers one exchange.
type Handler interface {
	// Answer writes the answer to the exchange's Response. If it writes nothing, the answer is 200
	// without a body.
	Answer()

	// Done is called once, when the answer is complete or was cut, also after a panic of Answer. It
	// is the place to log and count the request. The rest of the request's body may be drained
	// after it.
	Done()
}

// Exchange is one request with its answer. The zero value is ready for Serve. A handler can embed
// it in its own state of a request, so that both are one allocation. It must not be copied.
type Exchange struct {
	Response Response
	Request  *http.Request
	Body     *Body     // nil if the request announces none, or if it is dropped unread
	ID       string    // unique to the exchange
	Began    time.Time // when the request's header was complete
	Origin   Origin

	server  *Server
	handler Handler
	early   bool // answered before the end of the body, which net/http does not read then
	lingers bool // the rest of the body is drained after the answer
	done    bool // Handler.Done was called
}

// Serve answers one request by calling h. The deadlines of its body and its answer move with the
// bytes.
//
// It panics with http.ErrAbortHandler, as handlers of net/http may, to cut the connection when the
// answer is incomplete or the rest of the body is too large to drain.
func (s *Server) Serve(x *Exchange, w http.ResponseWriter, r *http.Request, h Handler) {
	s.begin(x, w, r, h)
	defer x.release() // also after a panic of the handler, which net/http logs
	h.Answer()
	x.finish()
	x.notifyDone()
	if x.lingers {
		s.linger(x)
	}
}

func (s *Server) begin(x *Exchange, w http.ResponseWriter, r *http.Request, h Handler) {
	control := http.NewResponseController(w)
	x.Response = Response{
		inner: w, control: control, buffers: &s.buffers,
		timeout: s.options.BodyTimeout, head: r.Method == http.MethodHead,
	}
	x.Request, x.ID, x.Origin, x.Began = r, s.ids.next(), s.OriginOf(r), time.Now()
	x.server, x.handler = s, h
	if r.ProtoMajor < 2 {
		// For "100 Continue", which net/http may write first. On HTTP/2 the deadline would end the
		// stream, and a long upload with it, even while nothing is written.
		x.Response.extend(x.Began)
	}
	switch {
	case r.ContentLength == 0:
	case r.ProtoMajor >= 2 && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		// No handler reads it. net/http would keep up to streamBuffer of it while the answer is
		// sent.
		_ = r.Body.Close()
	default:
		x.Body = newBody(r.Body, control, s.options.BodyTimeout, r.Header.Get("Expect") != "")
		// This deadline also limits what net/http reads after the handler.
		_ = x.Body.extend(x.Began)
		s.bodies.add(x.Body)
		if r.ProtoMajor < 2 {
			x.Response.beforeHeader = x.beforeHeader
		}
	}
	x.setHeader()
}

var noSniff = []string{"nosniff"}

// setHeader sets the header fields that every answer has.
func (x *Exchange) setHeader() {
	s, h := x.server, x.Response.Header()
	h["X-Content-Type-Options"] = noSniff
	h["X-Request-Id"] = []string{cmp.Or(ClientID(x.Request), x.ID)}
	if len(s.options.CORS.Origins) > 0 {
		h.Add("Vary", "Origin") // also where there is no Origin: a cache keeps that answer too
	}
	if s.version != nil {
		h["Server"] = s.version
	}
	if s.hsts != nil && x.Origin.Scheme == "https" {
		h["Strict-Transport-Security"] = s.hsts
	}
}

// finish completes the answer, or cuts the connection if the answer is incomplete.
func (x *Exchange) finish() {
	w := &x.Response
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.extend(time.Now()) // net/http still has buffered bytes to send
	if w.Err() != nil {
		x.abort()
	}
	x.lingers = w.beforeHeader != nil && (x.early || w.bodyLength() > maxEarlyAnswer && x.Body.hasMore())
	if !x.lingers {
		return
	}
	if w.err = w.control.Flush(); w.err != nil {
		x.abort()
	}
}

// abort cuts the connection. That is the only way to leave an answer visibly incomplete.
func (x *Exchange) abort() {
	if x.Body != nil {
		x.Body.interrupt() // else net/http would read a little more of it
	}
	panic(http.ErrAbortHandler)
}

// notifyDone calls Handler.Done, once.
func (x *Exchange) notifyDone() {
	if x.done {
		return
	}
	x.done = true
	if x.Response.status == 0 { // a panic: net/http closes the connection
		x.Response.status = http.StatusInternalServerError
	}
	x.handler.Done()
}

// release ends a request and forgets its body.
func (x *Exchange) release() {
	x.notifyDone()
	if x.Body != nil {
		x.server.bodies.remove(x.Body)
	}
}

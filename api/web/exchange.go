package web

import (
	"net/http"
	"time"
)

// Handler makes the answer of one exchange.
type Handler interface {
	// Answer writes the answer to the exchange's Response. If it writes nothing the answer is 200
	// without a body.
	Answer()

	// Over is called once, when the answer is out or was broken off, also after a panic of Answer.
	// It is where a request is logged and counted; what is left of its body may be read after that.
	Done()
}

// Exchange is one request and its answer. The zero one is ready for Serve. It is made to be part of
// what a handler keeps of a request, so that both are one allocation; it must not be copied.
type Exchange struct {
	Response Response
	Request  *http.Request
	Body     *Body     // of the request; nil when it announces none
	ID       string    // of the request: the client's X-Request-Id or a new one
	Began    time.Time // when the request's header had come
	Origin   Origin

	server  *Server
	handler Handler
	early   bool // answered before the end of the body, which net/http leaves to us
	lingers bool // what is left of the body is read after the answer
	done    bool // Over was called
}

// Serve has one request answered. The deadlines of its body and of its answer follow the bytes.
//
// It panics with http.ErrAbortHandler, as handlers of net/http may, to cut the connection of an
// answer that is not whole or of a body that is not read to its end.
func (s *Server) Serve(x *Exchange, w http.ResponseWriter, r *http.Request, h Handler) {
	s.begin(x, w, r, h)
	defer x.release() // also when a handler panics, which net/http logs
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
	x.Request, x.ID, x.Origin, x.Began = r, s.ids.forRequest(r), s.OriginOf(r), time.Now()
	x.server, x.handler = s, h
	if r.ProtoMajor < 2 {
		x.Response.extend(x.Began) // "100 Continue" is written before we write anything
	} // A stream of HTTP/2 would end with its deadline also while nothing is written, and with it a long upload.
	switch {
	case r.ContentLength == 0:
	case r.ProtoMajor >= 2 && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		// No handler reads it. What comes of it would be kept, streamBuffer at the most, for as
		// long as the answer takes.
		_ = r.Body.Close()
	default:
		x.Body = newBody(r.Body, control, s.options.BodyTimeout, r.Header.Get("Expect") != "")
		// net/http reads on after us, which this bounds too.
		_ = x.Body.extend(x.Began)
		s.bodies.add(x.Body)
		if r.ProtoMajor < 2 {
			x.Response.beforeHeader = x.beforeHeader
		}
	}
	x.setHeader()
}

var noSniff = []string{"nosniff"}

// setHeader sets the header fields that all answers have.
func (x *Exchange) setHeader() {
	s, h := x.server, x.Response.Header()
	h["X-Content-Type-Options"] = noSniff
	h["X-Request-Id"] = []string{x.ID}
	if s.version != nil {
		h["Server"] = s.version
	}
	if s.hsts != nil && x.Origin.Scheme == "https" {
		h["Strict-Transport-Security"] = s.hsts
	}
}

// finish ends the answer, or cuts the connection where it is not whole.
func (x *Exchange) finish() {
	w := &x.Response
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.extend(time.Now()) // net/http has a rest to flush
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

// abort ends the connection, which is the one way not to end an answer on it.
func (x *Exchange) abort() {
	if x.Body != nil {
		x.Body.interrupt() // net/http would read a little more of it
	}
	panic(http.ErrAbortHandler)
}

// end tells the handler, once, that the answer is over.
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

// release ends a request, and what is known of its body.
func (x *Exchange) release() {
	x.notifyDone()
	if x.Body != nil {
		x.server.bodies.remove(x.Body)
	}
}

package web

import (
	"net/http"
	"slices"
)

// CORS are the web pages of other origins that may call a server, by the CORS protocol of the Fetch
// standard. The zero value lets none.
type CORS struct {
	// Origins are the origins of the pages, in the form in which browsers send them:
	// "https://ui.example". Their pages may read and write. AnyOrigin lets all other pages read;
	// CheckOrigin still refuses their writes. The origin "null" is never let in, because every page
	// can open a sandboxed frame, which has that origin.
	Origins []string
	// Credentials lets the pages of Origins have the browser add the user's password to a request.
	// It has no effect for AnyOrigin.
	Credentials bool
}

// AnyOrigin stands for all origins in CORS.Origins.
const AnyOrigin = "*"

const (
	// preflightFields are the request header fields that pages may set, in addition to those that
	// need no permission.
	preflightFields = "Authorization, Accept, Content-Type, Cache-Control, Range, If-Match, If-None-Match"
	// exposedFields are the header fields of an answer that pages may read, in addition to those
	// that need no permission. A pattern such as OCI-* has no meaning here.
	exposedFields = "Docker-Content-Digest, Content-Range, ETag, Link, Location, OCI-Filters-Applied, OCI-Subject, OCI-Tag, Range, Retry-After, Warning, WWW-Authenticate"
	// preflightMaxAge is how long a browser may remember the answer to a preflight, in seconds.
	preflightMaxAge = "3600"
)

// allows returns the value of Access-Control-Allow-Origin for pages of an origin, "" if they are
// not let in.
func (c CORS) allows(origin string) string {
	switch {
	case origin == "" || origin == "null":
		return ""
	case slices.Contains(c.Origins, origin):
		return origin
	case slices.Contains(c.Origins, AnyOrigin):
		return AnyOrigin
	}
	return ""
}

// AllowOrigin sets the header fields with which the browser lets the page that sent the request
// read the answer, of whatever status. It sets none if Options.CORS does not let the page in.
func (s *Server) AllowOrigin(w *Response, r *http.Request) {
	origin := s.options.CORS.allows(r.Header.Get("Origin"))
	if origin == "" {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", exposedFields)
	if s.options.CORS.Credentials && origin != AnyOrigin {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// IsPreflight reports whether a request asks what a web page may send here. It is false for all
// requests if Options.CORS lets no page in.
func (s *Server) IsPreflight(r *http.Request) bool {
	return len(s.options.CORS.Origins) > 0 && r.Method == http.MethodOptions &&
		r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// AnswerPreflight answers a preflight that CheckOrigin accepted, after AllowOrigin. methods has the
// form of the header field Allow.
func (s *Server) AnswerPreflight(w *Response, methods string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", preflightFields)
	h.Set("Access-Control-Max-Age", preflightMaxAge)
	w.WriteHeader(http.StatusNoContent)
}

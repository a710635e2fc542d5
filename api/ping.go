package api

import (
	"net/http"

	"github.com/berth-registry/berth/api/web"
)

// ping answers GET /v2/, by which clients detect a registry and check their credentials.
func (a *API) ping(w *web.Response, r *request) error {
	return writeBody(w, http.StatusOK, "application/json", []byte("{}"))
}

// root answers GET /, the health check of some load balancers, and what people type into a browser.
func (a *API) root(w *web.Response, r *request) error {
	return writeBody(w, http.StatusOK,
		"text/plain; charset=utf-8", []byte("This is a container registry. Its API is at /v2/.\n"))
}

// livez reports that the process serves requests.
func (a *API) livez(w *web.Response, r *request) error {
	return writeBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

// readyz reports whether requests should be sent here: not before the registry is open, and not
// during a shutdown.
func (a *API) readyz(w *web.Response, r *request) error {
	if !a.ready.Load() {
		return writeBody(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte("not ready\n"))
	}
	return writeBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

package api

import (
	"net/http"

	"github.com/berth-registry/berth/api/web"
)

// ping answers that this is a registry.
func (a *API) ping(w *web.Response, r *request) error {
	return writeBody(w, http.StatusOK, "application/json", []byte("{}"))
}

// livez answers that the process serves requests.
func (a *API) livez(w *web.Response, r *request) error {
	return writeBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

// readyz answers whether requests should be sent here: no before everything is
// open, and no again once the end has begun.
func (a *API) readyz(w *web.Response, r *request) error {
	if !a.ready.Load() {
		return writeBody(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte("not ready\n"))
	}
	return writeBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

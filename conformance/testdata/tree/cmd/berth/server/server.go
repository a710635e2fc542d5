// Package server serves, and has what is for tests.
package server

import (
	"net/http"
	"net/http/httptest"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/storage"
)

type Server struct {
	http.Server
	httptest.ResponseRecorder
	api.Handler
	storage.Registry
}

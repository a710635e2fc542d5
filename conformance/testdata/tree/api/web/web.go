// Package web knows a caller, and a kit of tests.
package web

import (
	"net/http"

	"github.com/berth-registry/berth/api/web/webtest"
	"github.com/berth-registry/berth/auth"
)

type Server struct {
	http.Handler
	webtest.Listener
	auth.Identity
}

// Package api skips a layer.
package api

import (
	"net/http"
	"testing"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/meta"
)

type Handler struct {
	http.Handler
	auth.Identity
	storage.Registry
	meta.DB
	testing.T
}

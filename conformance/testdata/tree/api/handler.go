// Package api skips a layer.
package api

import (
	"net/http"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/meta"
)

type Handler struct {
	http.Handler
	storage.Registry
	meta.DB
}

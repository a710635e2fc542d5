package main

import (
	"net/http"
	"net/http/httptest"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/auth/authtest"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/storage"
)

func main() {
	_ = http.Server{}
	_ = httptest.Server{}
	_ = api.Handler{}
	_ = authtest.Provider{}
	_ = login.Service{}
	_ = storage.Registry{}
}

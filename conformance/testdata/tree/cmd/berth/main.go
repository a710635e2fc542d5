package main

import (
	"net/http"

	"github.com/berth-registry/berth/auth/authtest"
	"github.com/berth-registry/berth/auth/login"
)

func main() {
	_ = http.Server{}
	_ = authtest.Provider{}
	_ = login.Service{}
}

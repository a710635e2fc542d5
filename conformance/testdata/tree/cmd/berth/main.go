package main

import (
	"net/http"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/storage"
)

func main() {
	_ = http.Server{}
	_ = api.Handler{}
	_ = storage.Registry{}
}

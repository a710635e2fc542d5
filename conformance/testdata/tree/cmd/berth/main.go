package main

import (
	"net/http"

	"github.com/berth-registry/berth/auth/authtest"
	"github.com/berth-registry/berth/auth/policy"
)

func main() {
	_ = http.Server{}
	_ = authtest.Provider{}
	_ = policy.Policy{}
}

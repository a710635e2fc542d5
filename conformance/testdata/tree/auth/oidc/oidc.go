// Package oidc is as it should be.
package oidc

import (
	"net/http"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/auth/oidc/inner"
)

type Source struct {
	http.Client
	oidc.Provider
	jose.JSONWebKey
	inner.Cache
}

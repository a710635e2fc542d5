// Package authtest tests a package that it needs itself.
package authtest

import (
	"net/http/httptest"
	"testing"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/oidc"
)

type Provider struct {
	httptest.Server
	auth.Identity
	oidc.Source
}

func TestSource(*testing.T) {}

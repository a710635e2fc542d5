// Package policy looks into tokens.
package policy

import (
	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/berth-registry/berth/auth/token"
)

type Policy struct {
	oidc.IDToken
	token.Issuer
}

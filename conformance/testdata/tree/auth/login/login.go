// Package login answers requests, and signs tokens.
package login

import (
	"net/http"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/berth-registry/berth/auth/oidc"
	"github.com/berth-registry/berth/auth/rows"
)

type Service struct {
	http.Handler
	jwt.Token
	oidc.Source
	rows.DB
}

const cost = bcrypt.DefaultCost

// Package token verifies with two libraries, and passwords too.
package token

import (
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/berth-registry/berth/auth/rows"
)

type Issuer struct {
	jose.JSONWebKey
	jwt.Token
	rows.DB
}

const cost = bcrypt.DefaultCost

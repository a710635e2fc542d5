package oidc

import (
	"context"
	"errors"
)

type remote struct{}

func (s *Source) verify(context.Context, string) (IDToken, error) {
	return IDToken{}, errors.New("not yet")
}

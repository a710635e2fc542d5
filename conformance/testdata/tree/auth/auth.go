// Package auth is the words, and should not know who speaks them.
package auth

import "github.com/berth-registry/berth/auth/policy"

type Identity struct{ policy.Policy }

package auth

import (
	"testing"

	"github.com/berth-registry/berth/auth/authtest" // a test may
)

func TestSource(t *testing.T) { authtest.TestSource(t) }

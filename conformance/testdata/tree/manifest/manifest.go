// Package manifest calls upwards, and over the network.
package manifest

import (
	"net/http/httputil"

	"github.com/berth-registry/berth/api"
)

var proxy httputil.ReverseProxy

var handler api.Handler

func init() { _, _ = proxy, handler }

type parser struct{}

// A method of this name is no init function.
func (parser) init() {}

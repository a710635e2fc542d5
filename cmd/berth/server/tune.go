package server

import (
	"math"
	"runtime/debug"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// tune sets the garbage collector as configured. The runtime has read GOGC and GOMEMLIMIT already;
// they stay in force unless the configuration says otherwise.
func tune(l *config.Loaded, environ []string) {
	if l.Origin("runtime.gogc") != config.FromDefault || config.Lookup(environ, "GOGC") == "" {
		debug.SetGCPercent(l.Runtime.GOGC)
	}
	if l.Origin("runtime.memory_limit") != config.FromDefault || config.Lookup(environ, "GOMEMLIMIT") == "" {
		limit := int64(l.Runtime.MemoryLimit)
		if limit == 0 {
			limit = math.MaxInt64
		}
		debug.SetMemoryLimit(limit)
	}
}

package server

import (
	"math"
	"runtime"
	"runtime/debug"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// tuneGC configures the garbage collector. The runtime has already applied GOGC and GOMEMLIMIT; a
// default of the configuration does not override them.
func tuneGC(l *config.Loaded, environ []string) {
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

// dropStartGarbage collects what only the start needed: goose leaves 12 MiB of buffers in a
// sync.Pool, which lets go of them in the second collection from then on. Otherwise the first
// collection counts them as live and puts the next one, at a gogc of 400, at a heap of 75 MiB
// instead of 16.
func dropStartGarbage() {
	runtime.GC()
	runtime.GC()
}

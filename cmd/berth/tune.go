package main

import (
	"math"
	"runtime/debug"
)

// tune sets the garbage collector as configured. The runtime has read GOGC and GOMEMLIMIT already; they stay in force unless
// the configuration says otherwise.
func (l *loaded) tune(environ []string) {
	if l.origin["runtime.gogc"] != fromDefault || lookup(environ, "GOGC") == "" {
		debug.SetGCPercent(l.Runtime.GOGC)
	}
	if l.origin["runtime.memory_limit"] != fromDefault || lookup(environ, "GOMEMLIMIT") == "" {
		limit := int64(l.Runtime.MemoryLimit)
		if limit == 0 {
			limit = math.MaxInt64
		}
		debug.SetMemoryLimit(limit)
	}
}

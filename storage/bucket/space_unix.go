//go:build unix

package bucket

import "math"

// counted returns a number of statfs as an int64. Some file systems report the highest uint64 where
// they have no number.
func counted(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

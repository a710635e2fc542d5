//go:build unix

package bucket

import "math"

// counted returns what a file system counts as an int64. Some say all bits for more than they can
// tell.
func counted(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

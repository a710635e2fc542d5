package bucket

import (
	"math"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes returns how many bytes an ordinary user may still write to the file system of path.
func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	high, free := bits.Mul64(st.Bavail, uint64(st.Bsize))
	if high != 0 || free > math.MaxInt64 {
		return math.MaxInt64, nil
	}
	return int64(free), nil
}

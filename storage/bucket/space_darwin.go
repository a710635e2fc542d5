package bucket

import (
	"math"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// readFreeSpace returns the free space on the file system of path.
func readFreeSpace(path string) (freeSpace, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return freeSpace{}, os.NewSyscallError("statfs", err)
	}
	high, free := bits.Mul64(st.Bavail, uint64(st.Bsize))
	if high != 0 {
		free = math.MaxInt64
	}
	return freeSpace{counted(free), counted(st.Ffree), counted(st.Files)}, nil
}

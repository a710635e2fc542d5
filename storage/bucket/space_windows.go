package bucket

import (
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// readFreeSpace returns the free space on the file system of path. Windows counts no inodes.
func readFreeSpace(path string) (freeSpace, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return freeSpace{}, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return freeSpace{}, os.NewSyscallError("GetDiskFreeSpaceEx", err)
	}
	return freeSpace{bytes: int64(min(free, math.MaxInt64))}, nil
}

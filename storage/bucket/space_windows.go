package bucket

import (
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// freeRoom returns what is left of the file system of path. Windows counts no inodes.
func freeRoom(path string) (room, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return room{}, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return room{}, os.NewSyscallError("GetDiskFreeSpaceEx", err)
	}
	return room{bytes: int64(min(free, math.MaxInt64))}, nil
}

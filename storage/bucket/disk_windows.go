package bucket

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

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

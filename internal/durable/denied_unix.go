//go:build unix

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Denied returns why this process may not read and write one of the files or directories, and what
// would change that: the first one that it may not. It returns "" if there is none. Paths that do
// not exist are skipped. No file is opened.
func Denied(paths ...string) string {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		wanted := uint32(0o6)
		if info.IsDir() {
			wanted = 0o7
		}
		switch err := syscall.Access(path, wanted); {
		case err == nil:
		case errors.Is(err, syscall.EROFS):
			return path + " is on a file system that is mounted for reading only"
		case errors.Is(err, fs.ErrPermission):
			return explainDenied(path, info)
		}
	}
	return ""
}

func explainDenied(path string, info fs.FileInfo) string {
	text := fmt.Sprintf("%s has mode %v", path, info.Mode())
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return text
	}
	own, owner, dir := os.Getuid(), int(stat.Uid), path
	if !info.IsDir() {
		dir = filepath.Dir(path)
	}
	if own == owner {
		return fmt.Sprintf("%s and belongs to %s, as whom this process runs: chmod u+rwX %s", text, userName(owner), path)
	}
	return fmt.Sprintf("%s and belongs to %s, but this process runs as %s: run it as the owner, or give it the files: chown -R %d %s",
		text, userName(owner), userName(own), own, dir)
}

// userName returns a user for people. There may be no name for the number, as in a container.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("%s (uid %d)", u.Username, uid)
	}
	return fmt.Sprintf("uid %d", uid)
}

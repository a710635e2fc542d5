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
// not exist are skipped. For a path in a directory that hides it, that directory is named. No file
// is opened.
func Denied(paths ...string) string {
	for i, path := range paths {
		path, info, err := access(path)
		switch {
		case errors.Is(err, syscall.EROFS):
			return path + " is on a file system that is mounted for reading only"
		case errors.Is(err, fs.ErrPermission):
			return explainDenied(path, info, paths[i+1:])
		}
	}
	return ""
}

// access returns the error of reading and writing a path, and the path that has it: the given one,
// or the directory above it that may not be searched.
func access(path string) (denied string, info fs.FileInfo, err error) {
	info, err = os.Stat(path)
	for up := filepath.Dir(path); errors.Is(err, fs.ErrPermission) && up != path; up = filepath.Dir(path) {
		path = up
		info, err = os.Stat(path)
	}
	switch {
	case err != nil:
		return path, nil, nil
	case info.IsDir():
		return path, info, syscall.Access(path, 0o7)
	}
	return path, info, syscall.Access(path, 0o6)
}

// explainDenied explains why the path is denied. The advice is for the denied path and the denied
// files among the others, and never to give away a directory: that may be /tmp.
func explainDenied(path string, info fs.FileInfo, others []string) string {
	text := fmt.Sprintf("%s has mode %v", path, info.Mode())
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return text
	}
	own, owner := os.Getuid(), int(stat.Uid)
	if own == owner {
		return fmt.Sprintf(
			"%s and belongs to %s, as whom this process runs: chmod u+rwX %s", text, userName(owner), path)
	}
	text = fmt.Sprintf(
		"%s and belongs to %s, but this process runs as %s: run it as the owner", text, userName(owner), userName(own))
	if info.IsDir() {
		return text
	}
	for _, other := range others {
		if file, info, err := access(other); errors.Is(err, fs.ErrPermission) && !info.IsDir() {
			path += " " + file
		}
	}
	return fmt.Sprintf("%s, or give it the files: chown %d %s", text, own, path)
}

// userName returns a user for people. There may be no name for the number, as in a container.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("%s (uid %d)", u.Username, uid)
	}
	return fmt.Sprintf("uid %d", uid)
}

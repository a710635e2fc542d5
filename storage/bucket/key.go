package bucket

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Marker is the key of the marker, the object that ties the bucket to its database.
const Marker = "berth.json"

// ContentDir is the directory of all other objects. It has 256 subdirectories, 00 to ff.
const ContentDir = "content"

// ErrKey means that a key is malformed, which is a mistake of the caller.
var ErrKey = errors.New("not a key of this bucket")

// maxName is the maximum length of the last element of a key, in bytes. A temporary name has 21
// bytes more, and the limit of file systems is 255.
const maxName = 200

// CheckKey returns nil if key is "berth.json" or has the form content/<2 hex>/<id>-<n>, where the
// id has letters, digits, "_" and "-". Otherwise it returns ErrKey. So no key leaves the directory
// of the bucket, is taken for a temporary file, or needs escaping in the name of a file.
func CheckKey(key string) error {
	if key == Marker {
		return nil
	}
	rest, ok := strings.CutPrefix(key, ContentDir+"/")
	if ok && len(rest) > 3 && isHex(rest[:2]) && rest[2] == '/' && isObjectName(rest[3:]) {
		return nil
	}
	return fmt.Errorf("%w: %q", ErrKey, key)
}

func isObjectName(name string) bool {
	dash := strings.LastIndexByte(name, '-')
	if len(name) > maxName || dash < 1 || dash == len(name)-1 {
		return false
	}
	for _, c := range []byte(name[:dash]) {
		if !isDigit(c) && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	for _, c := range []byte(name[dash+1:]) {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// Directories yields the directories that can hold keys, in byte order of the keys: first ".", then
// the subdirectories of ContentDir.
func Directories() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(".") {
			return
		}
		for name := range ContentDirs() {
			if !yield(ContentDir + "/" + name) {
				return
			}
		}
	}
}

// ContentDirs yields the names of the subdirectories of ContentDir, in byte order.
func ContentDirs() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range 256 {
			if !yield(fmt.Sprintf("%02x", i)) {
				return
			}
		}
	}
}

// WalkKeys calls list for each of Directories and yields the keys that it returns. An error ends
// the sequence.
func WalkKeys(list func(dir string) ([]string, error)) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for dir := range Directories() {
			keys, err := list(dir)
			if err != nil {
				yield("", fmt.Errorf("bucket: keys of %s: %w", dir, err))
				return
			}
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
			}
		}
	}
}

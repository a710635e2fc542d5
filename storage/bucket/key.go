package bucket

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Marker is the key of the object that says whose bucket this is.
const Marker = "berth.json"

// ContentDir is where all other objects are, in 256 directories, content/00 to content/ff.
const ContentDir = "content"

// ErrKey says that a key has neither of the two shapes that this package takes. It is a mistake of
// the caller.
var ErrKey = errors.New("not a key of this bucket")

// maxName is the longest last element of a key, in bytes. Temporary files have 21 more, and file
// systems end at 255.
const maxName = 200

// CheckKey returns ErrKey unless key is content/<2 hex>/<id>-<n> or berth.json, where the id is of
// letters, digits, "_" and "-". So no key leaves the bucket's directory, is taken for a temporary
// file, or needs escaping in a file's name.
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

// Directories yields the directories that can hold keys, in byte order of the keys: "." and those
// of ContentDirs.
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

// ContentDirs yields the names of the directories in ContentDir, in byte order.
func ContentDirs() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range 256 {
			if !yield(fmt.Sprintf("%02x", i)) {
				return
			}
		}
	}
}

// KeysOf yields the keys that list returns for each of Directories, in their order, until an error.
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

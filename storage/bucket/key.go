package bucket

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// Marker is the key of the object that says whose bucket this is.
const Marker = "berth.json"

// contentDir is where all other objects are, in 256 directories, content/00 to content/ff.
const contentDir = "content"

// ErrKey says that a key has neither of the two shapes that this package takes. It is a mistake of the caller.
var ErrKey = errors.New("not a key of this bucket")

// maxName is the longest last element of a key, in bytes. fileblob adds 21 for its temporary files, and file systems
// end at 255.
const maxName = 200

// checkKey accepts content/<2 hex>/<id>-<n> and berth.json, where the id is of letters, digits, "_" and "-". So no key
// leaves the bucket's directory, is taken for a temporary file, or needs escaping in a file's name.
func checkKey(key string) error {
	if key == Marker {
		return nil
	}
	rest, ok := strings.CutPrefix(key, contentDir+"/")
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

// isTemporary says whether the file name of the directory dir (relative to the bucket, with slashes) is one that
// fileblob makes while it writes an object, "<key>.<16 hex>.tmp", or that a crash left.
func isTemporary(dir, name string) bool {
	rest, ok := strings.CutSuffix(name, ".tmp")
	if !ok || len(rest) < 18 {
		return false
	}
	object, stamp := rest[:len(rest)-17], rest[len(rest)-16:]
	return rest[len(object)] == '.' && isHex(stamp) && checkKey(path.Join(dir, object)) == nil
}

// filePath is where the object, or the directory, of that key is on a file:// bucket.
func (b *Bucket) filePath(key string) string {
	return filepath.Join(b.root, filepath.FromSlash(key))
}

// directories yields the directories that can hold keys, in byte order of the keys.
func directories(yield func(dir string) bool) {
	if !yield(".") {
		return
	}
	for i := range 256 {
		if !yield(fmt.Sprintf("%s/%02x", contentDir, i)) {
			return
		}
	}
}

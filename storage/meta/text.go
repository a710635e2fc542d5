package meta

import (
	"strings"
	"unicode/utf8"
)

// PostgreSQL refuses a text with a NUL or with broken UTF-8, also as an argument. No name, digest
// or id has one, so what is sought under such a text is not there.

// storable reports whether every engine can hold the texts.
func storable(texts ...string) bool {
	for _, s := range texts {
		if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

// storableBound returns a storable text that the same names follow in byte order as they follow
// last. Names are ASCII.
func storableBound(last string) string {
	for i, c := range last {
		switch {
		case c == 0:
			return last[:i]
		case c == utf8.RuneError && !storable(last[i:]):
			return last[:i] + string(utf8.MaxRune)
		}
	}
	return last
}

package db

import (
	"strings"
	"unicode/utf8"
)

// Storable reports whether every engine can hold the texts, and takes them as arguments. PostgreSQL
// refuses a NUL and broken UTF-8. A text that is not storable is in no row.
func Storable(texts ...string) bool {
	for _, s := range texts {
		if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

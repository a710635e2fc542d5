package meta

import (
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/db"
)

// storableBound returns a storable text that the same names follow in byte order as they follow
// last. Names are ASCII.
func storableBound(last string) string {
	for i, c := range last {
		switch {
		case c == 0:
			return last[:i]
		case c == utf8.RuneError && !db.Storable(last[i:]):
			return last[:i] + string(utf8.MaxRune)
		}
	}
	return last
}

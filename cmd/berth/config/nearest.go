package config

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest is the known key that looks most like the unknown one. A key whose last part is the same,
// in a section that is not, counts as near: that is the mistake most often made after a
// misspelling.
func nearest(key string, all []Setting) string {
	best, least := "", -1
	for _, s := range all {
		d := levenshtein.ComputeDistance(key, s.Key)
		if last(s.Key) == last(key) {
			d = min(d, 2)
		}
		if least < 0 || d < least {
			best, least = s.Key, d
		}
	}
	return best
}

func last(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

package config

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearestKey returns the known key that is most similar to an unknown one. A key with the same last
// part in another section counts as similar, because a wrong section is a frequent mistake.
func nearestKey(key string, all []Setting) string {
	best, least := "", -1
	for _, s := range all {
		d := levenshtein.ComputeDistance(key, s.Key)
		if lastPart(s.Key) == lastPart(key) {
			d = min(d, 2)
		}
		if least < 0 || d < least {
			best, least = s.Key, d
		}
	}
	return best
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

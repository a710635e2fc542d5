package config

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// suggestion returns the end of the message about an unknown key: the known key that is meant by
// all appearances, or where the known ones are listed.
func suggestion(key string, all []Setting) string {
	if near := nearestKey(key, all); near != "" {
		return ", did you mean " + near + "?"
	}
	return ": `berth config check` lists those that there are"
}

// nearestKey returns the known key that is most similar to an unknown one, or "" if more than a
// third of the key is different. A key with the same last part in another section counts as
// similar, because a wrong section is a frequent mistake.
func nearestKey(key string, all []Setting) string {
	if len(key) > maxKey {
		return ""
	}
	best, least := "", max(2, len(key)/3)+1
	for _, s := range all {
		d := levenshtein.ComputeDistance(key, s.Key)
		if lastPart(s.Key) == lastPart(key) {
			d = min(d, 2)
		}
		if d < least {
			best, least = s.Key, d
		}
	}
	return best
}

// maxKey is the length of a key beyond which none is similar to it.
const maxKey = 64

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

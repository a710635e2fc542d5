package main

import "strings"

// nearest is the known key that looks most like the unknown one. A key whose last part is the same, in a section that is
// not, counts as near: that is the mistake most often made after a misspelling.
func nearest(key string, all []setting) string {
	best, least := "", -1
	for _, s := range all {
		d := distance(key, s.key)
		if last(s.key) == last(key) {
			d = min(d, 2)
		}
		if least < 0 || d < least {
			best, least = s.key, d
		}
	}
	return best
}

func last(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance counts the insertions, deletions and replacements of bytes that turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

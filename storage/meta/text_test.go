package meta

import (
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

// TestStorableBound checks that the bound that is asked for selects the names that follow the text
// of the client in byte order.
func TestStorableBound(t *testing.T) {
	names := []string{"a", "a-b", "a~", "ab", "b", "z~"}
	for _, last := range []string{
		"", "a", "a\x00", "a\x00z", "\x00", "a\xff", "a\xffz", "\xff", "\xc3", "ä", "aä\xff", "a\xffä\x00", "a\ufffd", "z\xff", "a\xed\xa0\x80",
	} {
		bound := storableBound(last)
		follow := func(s string) []string {
			return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name <= s })
		}
		if got, want := follow(bound), follow(last); !db.Storable(bound) || !slices.Equal(got, want) {
			t.Errorf("%q becomes %q, which %q follow, want %q", last, bound, got, want)
		}
	}
}

package auth

import "testing"

func TestOpenAllowsEverything(t *testing.T) {
	var policy Policy = Open{}
	for _, p := range []Permission{None, Pull, Push, Delete, Catalog} {
		if !policy.May(Identity{}, p, "team/app") {
			t.Errorf("the open policy refuses %q", p)
		}
	}
}

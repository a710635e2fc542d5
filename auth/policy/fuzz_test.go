package policy

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
)

// FuzzParse checks that any content either is rejected with line numbers or becomes a policy that
// decides.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p.yaml", data)
		if err != nil {
			lines := strings.Split(err.Error(), "\n")
			for _, line := range lines {
				if !strings.HasPrefix(line, "p.yaml:") {
					t.Errorf("%q does not say where", line)
				}
			}
			if p != nil || len(lines) > maxFaults+1 {
				t.Errorf("a policy in spite of errors, or %d of them", len(lines))
			}
			return
		}
		nobody := auth.Identity{}
		for _, id := range []auth.Identity{person("bob", "g"), {Kind: auth.Anonymous}, {Kind: auth.Robot, Name: "r"}, job(), nobody} {
			for _, perm := range []auth.Permission{auth.Pull, auth.Push, auth.Delete, auth.Catalog} {
				d := p.Decide(id, netip.Addr{}, perm, "public/a")
				if e := p.Explain(id, netip.Addr{}, perm, "public/a"); e.Decision != d {
					t.Errorf("%s: %+v, explained as %+v", perm, d, e.Decision)
				}
				if d.Allowed && (id.Kind == "" || id.Kind == auth.Anonymous && !p.AllowsAnonymous()) {
					t.Errorf("%q may %s by %s", id.Kind, perm, d.Rule)
				}
			}
		}
	})
}

// FuzzPattern compares matchPattern with auth.Pattern: for a pattern without placeholders directly,
// otherwise for the pattern with the identity's values inserted.
func FuzzPattern(f *testing.F) {
	f.Fuzz(func(t *testing.T, text, claim, name string) {
		p, err := parsePattern(text)
		if err != nil || manifest.CheckName(name) != nil || len(text) > 100 {
			return
		}
		id := &auth.Identity{Kind: auth.CI, Claims: map[string][]string{"c": {claim}}}
		want := false
		plain := strings.ReplaceAll(text, "{claims.c}", strings.ToLower(claim))
		if legal := manifest.CheckName(strings.ToLower(claim)) == nil && isASCII(claim); legal || plain == text {
			if pattern, err := auth.ParsePattern(plain); err == nil {
				want = pattern.Match(name)
			}
		}
		if got := matchPattern(&p, id, name); got != want {
			t.Errorf("%q with %q matches %q: %t, want %t", text, claim, name, got, want)
		}
	})
}

// FuzzPath compares isRepositoryName with manifest.CheckName.
func FuzzPath(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		if err := manifest.CheckName(s); isRepositoryName(s) != (err == nil) {
			t.Errorf("%q: %t, CheckName says %v", s, isRepositoryName(s), err)
		}
	})
}

package auth

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestOpenAllowsEverything(t *testing.T) {
	var policy Policy = Open{}
	for _, p := range []Permission{None, Pull, Push, Delete, Catalog} {
		if !policy.Decide(Identity{}, netip.Addr{}, p, "team/app").Allowed {
			t.Errorf("the open policy refuses %q", p)
		}
	}
	if !policy.AllowsAnonymous() {
		t.Error("the open policy has nothing for the anonymous")
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"**", "a", true}, {"**", "a/b/c", true}, {"**", "", false},
		{"a/**", "a", true}, {"a/**", "a/b", true}, {"a/**", "a/b/c", true}, {"a/**", "ab", false}, {"a/**", "b/a", false},
		{"a/*", "a", false}, {"a/*", "a/b", true}, {"a/*", "a/b/c", false},
		{"*", "a", true}, {"*", "a/b", false},
		{"a*c", "abc", true}, {"a*c", "ac", true}, {"a*c", "acb", false}, {"a*b*c", "abbc", true}, {"a*b*c", "acb", false},
		{"**/x", "x", true}, {"**/x", "a/x", true}, {"**/x", "a/b/x", true}, {"**/x", "a/x/b", false}, {"**/x", "ax", false},
		{"a/**/x", "a/x", true}, {"a/**/x", "a/b/c/x", true}, {"a/**/x", "a", false}, {"a/**/x", "a/xx", false},
		{"a/**/b/**", "a/b", true}, {"a/**/b/**", "a/c/b/d", true}, {"a/**/b/**", "a/c", false},
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a", "a/b", false}, {"a/b/**", "a", false},
		{"release-*/web", "release-1/web", true}, {"release-*/web", "release-1/web2", false},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := p.Match(c.name); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.name, got)
		}
	}
	for _, bad := range []string{"", "/a", "a/", "a//b", "a**", "**/**", "a?", "[a]", "A", "a b", "{user}"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
}

// TestTemplate checks that a placeholder stands for its value literally.
func TestTemplate(t *testing.T) {
	known := func(name string) bool { return name == "user" }
	for _, c := range []struct {
		pattern, value, name string
		want                 bool
	}{
		{"home/{user}/**", "alice", "home/alice", true}, {"home/{user}/**", "alice", "home/alice/a/b", true},
		{"home/{user}/**", "alice", "home/bob", false}, {"{user}", "team/a", "team/a", true},
		{"a-{user}-b", "x", "a-x-b", true}, {"{user}{user}", "ab", "abab", true},
		{"{user}/**", "", "a", false}, {"{user}", "*", "a", false}, {"{user}/a", "**", "b/a", false}, {"{user}", "**", "**", true},
		{"**/{user}", "x", "a/b/x", true}, {"*{user}", "x", "axbx", true},
	} {
		p, err := ParseTemplate(c.pattern, known, "{user}")
		if err != nil {
			t.Fatal(err)
		}
		value := func(string) string { return c.value }
		if got := p.MatchWith(c.name, value); got != c.want {
			t.Errorf("%q with %q matches %q: %t", c.pattern, c.value, c.name, got)
		}
		if p.Match(c.name) || !slices.Contains(p.Placeholders(), "user") || p.String() != c.pattern {
			t.Errorf("%q: without a value it matches, or is %q with %q", c.pattern, p, p.Placeholders())
		}
	}
	for bad, want := range map[string]string{
		"{group}": `pattern "{group}": what is in braces is {user}`, "a/{user": "what is in braces", "a}": "names have lower-case letters",
		"A{user}": `with x for what is in braces: pattern "Ax"`,
	} {
		if _, err := ParseTemplate(bad, known, "{user}"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestScope(t *testing.T) {
	s, err := ParseScope("repository:team-a/**:pull repository:x:push,delete registry:catalog:*")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p    Permission
		repo string
		want bool
	}{
		{Pull, "team-a/b", true}, {Push, "team-a/b", false}, {Pull, "x", true}, {Push, "x", true}, {Delete, "x", true},
		{Delete, "team-a", false}, {Catalog, "", true}, {None, "", true}, {Pull, "y", false},
	} {
		if got := s.Allows(c.p, c.repo); got != c.want {
			t.Errorf("%s on %q: %t", c.p, c.repo, got)
		}
	}
	if again, err := ParseScope(s.String()); err != nil || again.String() != s.String() {
		t.Errorf("%q reads back as %q, %v", s, again, err)
	}
	if !Scope(nil).Allows(Delete, "x") || (Scope{}).Allows(Pull, "x") {
		t.Error("nil is no bounds, an empty scope is nothing")
	}
	for _, bad := range []string{"", " ", "repository:a", "repository:a:", "repository:a:pull,admin", "registry:*:*", "team-a", "repository:A:pull", "repository:a:b:pull"} {
		if s, err := ParseScope(bad); err == nil {
			t.Errorf("%q is taken for the scope %q", bad, s)
		}
	}
}

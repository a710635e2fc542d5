package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/manifest"
)

// TestPatternIsBounded checks that a pattern with many wildcards does not take exponential time.
func TestPatternIsBounded(t *testing.T) {
	name := strings.Repeat("a/", 126) + "a"
	for _, text := range []string{
		strings.Repeat("**/a/", 60) + "b",
		strings.Repeat("**/*a*/", 50) + "**/b",
		strings.Repeat("a/**/", 60) + "b",
	} {
		p, err := ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		if p.Match(name) || !p.Match(name+"/b") {
			t.Errorf("%s", text)
		}
	}
	if matchWildcard(strings.Repeat("*a", 100)+"*b", strings.Repeat("a", 255)) {
		t.Error("a word without b matches *b")
	}
}

func TestParseRequested(t *testing.T) {
	const all = "delete,pull,push"
	for _, c := range []struct {
		name   string
		values []string
		want   string
	}{
		{"nothing", nil, ""},
		{"blank", []string{"", "  "}, ""},
		{"one", []string{"repository:team/app:pull"}, "repository:team/app:pull"},
		{"sorted", []string{"repository:a:push,pull"}, "repository:a:pull,push"},
		{"joined", []string{"repository:a:pull repository:b:push"}, "repository:a:pull repository:b:push"},
		{"repeated", []string{"repository:a:pull", "repository:b:push"}, "repository:a:pull repository:b:push"},
		{"merged", []string{"repository:a:push", "repository:b:pull repository:a:pull", "repository:a:pull"}, "repository:a:pull,push repository:b:pull"},
		{"star", []string{"repository:a:*"}, "repository:a:" + all},
		{"star merged", []string{"repository:a:pull", "repository:a:*"}, "repository:a:" + all},
		{"more than there is", []string{"repository:a:pull,admin,push"}, "repository:a:pull,push"},
		{"nothing that there is", []string{"repository:a:admin", "repository:a:", "repository:a:Pull"}, ""},
		{"catalog", []string{"registry:catalog:*"}, "registry:catalog:*"},
		{"catalog twice", []string{"registry:catalog:* registry:catalog:*"}, "registry:catalog:*"},
		{"catalog, but not all", []string{"registry:catalog:pull", "registry:catalog:"}, ""},
		{"registry", []string{"registry:*:*", "registry:catalog2:*", "registry::*"}, ""},
		{"a repository catalog", []string{"repository:catalog:*"}, "repository:catalog:" + all},
		{"class", []string{"repository(plugin):a:pull"}, "repository:a:pull"},
		{"half a class", []string{"repository(plugin:a:pull", "repository(:a:pull", "(repository):a:pull"}, ""},
		{"pattern", []string{"repository:**:pull", "repository:a/*:pull", "repository:*:*"}, ""},
		{"two names", []string{"repository:a,b:pull"}, ""},
		{"port", []string{"repository:host:5000/a:pull"}, ""},
		{"dots", []string{"repository:../a:pull", "repository:a/../b:pull", "repository:/a:pull", "repository:a/:pull", "repository:a//b:pull"}, ""},
		{"escapes", []string{"repository:a%2fb:pull", "repository:a\x00b:pull", "repository:A:pull"}, ""},
		{"line", []string{"repository:a:pull\nrepository:b:push"}, "repository:a:pull repository:b:push"},
		{"too few parts", []string{"repository", "repository:a", ":", "::", "a:b:pull"}, ""},
		{"long name", []string{"repository:" + strings.Repeat("a", 256) + ":pull", "repository:b:pull"}, "repository:b:pull"},
	} {
		access, err := ParseRequestedAccess(c.values)
		if got := scopeOf(access); got != c.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func scopeOf(access []Access) string {
	var words []string
	for _, a := range access {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

// TestParseRequestedBounds checks that dropped scopes count towards MaxScopes.
func TestParseRequestedBounds(t *testing.T) {
	var values []string
	for i := range MaxScopes {
		values = append(values, fmt.Sprintf("repository:a%d:pull", i))
	}
	if access, err := ParseRequestedAccess(values); len(access) != MaxScopes || err != nil {
		t.Errorf("%d of %d, %v", len(access), MaxScopes, err)
	}
	for _, more := range [][]string{append(values, "x"), {strings.Repeat("x ", MaxScopes+1)}, slices.Repeat([]string{"repository:a:pull"}, 10_000)} {
		if access, err := ParseRequestedAccess(more); access != nil || !errors.Is(err, ErrTooManyScopes) {
			t.Errorf("%d: %v", len(access), err)
		}
	}
}

func TestGrants(t *testing.T) {
	access := []Access{
		{Type: "repository", Name: "a", Actions: []string{"pull"}},
		{Type: "repository", Name: "b", Actions: []string{"push"}},
		{Type: "repository", Name: "c", Actions: []string{"delete"}},
		{Type: "repository", Name: "catalog", Actions: []string{"*"}},
		{Type: "registry", Name: "catalog", Actions: []string{"pull"}},
		{Type: "registry", Name: "d", Actions: []string{"pull", "*"}},
	}
	for _, c := range []struct {
		p    Permission
		repo string
		want bool
	}{
		{None, "", true}, {None, "x", true},
		{Pull, "a", true}, {Push, "a", false}, {Delete, "a", false}, {Pull, "a/b", false}, {Pull, "A", false}, {Pull, "", false},
		{Pull, "b", true}, {Push, "b", true}, {Delete, "b", false},
		{Pull, "c", false}, {Delete, "c", true},
		{Pull, "catalog", false}, {Pull, "d", false}, {Catalog, "", false}, {Catalog, "catalog", false},
		{"", "a", false}, {"admin", "a", false},
	} {
		if got := Grants(access, c.p, c.repo); got != c.want {
			t.Errorf("%q on %q: %t", c.p, c.repo, got)
		}
	}
	if !Grants([]Access{{Type: "registry", Name: "catalog", Actions: []string{"*"}}}, Catalog, "") {
		t.Error("no catalog")
	}
	if Grants(nil, Pull, "a") || !Grants(nil, None, "") {
		t.Error("no access is none")
	}
}

// FuzzParseRequested checks that the result is valid, merged, bounded, and never more than was
// requested, and that parsing it again does not change it.
func FuzzParseRequested(f *testing.F) {
	f.Fuzz(func(t *testing.T, first, second string) {
		values := []string{first, second}
		access, err := ParseRequestedAccess(values)
		if n := len(strings.Fields(first)) + len(strings.Fields(second)); (n > MaxScopes) != (err != nil) {
			t.Fatalf("%d scopes: %v", n, err)
		}
		seen := make(map[string]bool)
		for _, a := range access {
			if seen[a.Type+":"+a.Name] {
				t.Errorf("%s %s is there twice", a.Type, a.Name)
			}
			seen[a.Type+":"+a.Name] = true
			checkAccess(t, a)
			for _, action := range a.Actions {
				if !asked(values, a, action) {
					t.Errorf("nobody asked for %s of %s", action, a)
				}
			}
		}
		again, err := ParseRequestedAccess([]string{scopeOf(access)})
		if err != nil || scopeOf(again) != scopeOf(access) {
			t.Errorf("%q became %q, %v", scopeOf(access), scopeOf(again), err)
		}
	})
}

func checkAccess(t *testing.T, a Access) {
	if a.Type == "registry" && a.Name == "catalog" && slices.Equal(a.Actions, []string{"*"}) {
		return
	}
	if a.Type != "repository" || manifest.CheckName(a.Name) != nil || len(a.Actions) == 0 || !slices.IsSorted(a.Actions) {
		t.Errorf("%+v", a)
	}
	for i, action := range a.Actions {
		if !slices.Contains([]string{"pull", "push", "delete"}, action) || i > 0 && a.Actions[i-1] == action {
			t.Errorf("%+v", a)
		}
	}
}

// asked reports whether a scope in values requests the action, or all actions, on the resource.
func asked(values []string, a Access, action string) bool {
	return slices.ContainsFunc(strings.Fields(strings.Join(values, " ")), func(word string) bool {
		i, j := strings.Index(word, ":"), strings.LastIndex(word, ":")
		if i < 0 || i == j || !strings.HasPrefix(word, a.Type) || word[i+1:j] != a.Name {
			return false
		}
		actions := strings.Split(word[j+1:], ",")
		return slices.Contains(actions, action) || slices.Contains(actions, "*")
	})
}

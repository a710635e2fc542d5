package policy

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/auth"
)

var _ auth.Policy = (*Store)(nil)

func pullPolicy(who string) string {
	return "policy:\n  - {name: " + who + "-pull, who: ['" + who + "'], repos: ['**'], allow: [pull]}\n"
}

// TestReload checks that a changed file takes effect if and only if it is valid.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(pullPolicy("anonymous"))
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	inForce := func(what, rule string, version uint64) {
		t.Helper()
		d := s.Decide(auth.Identity{Kind: auth.User, Name: "bob"}, nowhere, auth.Pull, "a")
		if d.Rule != rule || s.Version() != version {
			t.Errorf("%s: %q decides at version %d, want %q at %d", what, d.Rule, s.Version(), rule, version)
		}
	}
	reload := func(what string, wantChanged bool, wantErr string) {
		t.Helper()
		changed, err := s.Reload()
		if changed != wantChanged || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: changed %t, %v", what, changed, err)
		}
	}
	inForce("at first", reasonNoRule, 1)
	if !s.AllowsAnonymous() {
		t.Error("at first: nothing for the anonymous")
	}
	reload("unchanged", false, "")
	inForce("unchanged", reasonNoRule, 1)

	write(pullPolicy("user:bob"))
	reload("changed", true, "")
	inForce("changed", "user:bob-pull", 2)
	if s.AllowsAnonymous() {
		t.Error("changed: something for the anonymous")
	}
	for what, text := range map[string]string{
		"syntax":         "policy: [",
		"unknown action": strings.Replace(pullPolicy("anonymous"), "allow: [pull]", "allow: [read]", 1),
		"failing test":   pullPolicy("anonymous") + "tests: [{as: 'user:bob', repo: a, want: pull}]",
		"empty":          "",
		"too large":      pullPolicy("anonymous") + "#" + strings.Repeat("x", MaxSize),
	} {
		write(text)
		reload(what, false, path+":")
		reload(what+", again", false, path+":")
		inForce(what, "user:bob-pull", 2)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	reload("gone", false, path)
	inForce("gone", "user:bob-pull", 2)
	write(pullPolicy("user:bob"))
	reload("back again", false, "")
	write(pullPolicy("authenticated"))
	reload("another", true, "")
	inForce("another", "authenticated-pull", 3)
}

func TestOpen(t *testing.T) {
	s, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Reload(); changed || err != nil {
		t.Errorf("the default policy: %t, %v", changed, err)
	}
	if d := s.Decide(person("bob"), nowhere, auth.Delete, "a"); !d.Allowed || s.Version() != 1 {
		t.Errorf("%+v at version %d", d, s.Version())
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent.yaml")); err == nil || !strings.Contains(err.Error(), "absent.yaml") {
		t.Errorf("no file: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("policy: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(bad); err == nil || !strings.Contains(err.Error(), bad+":1: ") {
		t.Errorf("a bad file: %v", err)
	}
}

// TestReloadWhileDeciding is for the race detector, and checks that each pair of decisions comes
// from one policy.
func TestReloadWhileDeciding(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	put := func(who string) {
		if err := os.WriteFile(path+".new", []byte(pullPolicy(who)), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Error(err)
		}
	}
	put("user:a")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var deciding sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		deciding.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p := s.Current()
				a, b := p.Decide(person("a"), nowhere, auth.Pull, "x"), p.Decide(person("b"), nowhere, auth.Pull, "x")
				if a.Allowed == b.Allowed {
					t.Errorf("%+v and %+v", a, b)
					return
				}
			}
		})
	}
	for i := range 100 {
		put("user:" + []string{"b", "a"}[i%2])
		if changed, err := s.Reload(); !changed || err != nil {
			t.Errorf("reload %d: %t, %v", i, changed, err)
		}
	}
	close(stop)
	deciding.Wait()
	if v := s.Version(); v != 101 {
		t.Errorf("version %d after 100 reloads", v)
	}
}

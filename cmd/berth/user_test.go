package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// cli runs commands on one data directory.
type cli struct {
	t    *testing.T
	data string
}

// run runs a command to its end, with input as its standard input.
func (o cli) run(input string, args ...string) result {
	o.t.Helper()
	return berthReading(o.t, input, nil, append(args, "--data", o.data)...)
}

// ok runs a command that must succeed and returns its standard output.
func (o cli) ok(input string, args ...string) string {
	o.t.Helper()
	r := o.run(input, args...)
	if r.code != 0 {
		o.t.Fatalf("%s: %+v", strings.Join(args, " "), r)
	}
	return r.stdout
}

// into runs a command that must succeed with --json, and decodes its output.
func (o cli) into(v any, input string, args ...string) {
	o.t.Helper()
	out := o.ok(input, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		o.t.Fatalf("%s: %v in %s", strings.Join(args, " "), err, out)
	}
}

// refused runs a command that must fail. Its error must contain all of the words, and standard
// output must be empty.
func (o cli) refused(input string, words []string, args ...string) {
	o.t.Helper()
	r := o.run(input, args...)
	if r.code != 1 || r.stdout != "" {
		o.t.Errorf("%s: %+v", strings.Join(args, " "), r)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			o.t.Errorf("%s: no %q in %q", strings.Join(args, " "), word, r.stderr)
		}
	}
}

// The life of a user, beside a server that notices each step with the next request.
func TestUserBesideServer(t *testing.T) {
	t.Parallel()
	o := cli{t, newData(t)}
	o.ok("first password\r\n", "user", "add", "alice", "--password-stdin")
	p := serve(t, o.data, nil)
	status := func(what, password string, want int) {
		t.Helper()
		if got := p.status(basic("alice", password)...); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	status("added", "first password", http.StatusOK)
	token := strings.TrimSpace(o.ok("", "token", "create", "--owner", "alice", "--scope", "repository:**:pull"))
	status("token", token, http.StatusOK)
	o.ok("", "user", "disable", "alice")
	status("disabled", "first password", http.StatusUnauthorized)
	status("disabled, token", token, http.StatusUnauthorized)
	o.ok("", "user", "enable", "alice")
	status("enabled", "first password", http.StatusOK)
	status("enabled, token", token, http.StatusOK)

	o.ok("second password", "user", "passwd", "alice", "--password-stdin", "--keep-tokens")
	status("old password", "first password", http.StatusUnauthorized)
	status("new password", "second password", http.StatusOK)
	status("token kept", token, http.StatusOK)
	o.ok("third password", "user", "passwd", "alice", "--password-stdin")
	status("token not kept", token, http.StatusUnauthorized)

	o.ok("", "user", "remove", "alice")
	status("removed", "third password", http.StatusUnauthorized)
	if got := p.status(); got != http.StatusUnauthorized {
		t.Errorf("without users the registry is open: %d", got)
	}
}

func TestUserList(t *testing.T) {
	t.Parallel()
	o := cli{t, newData(t)}
	var list []accountInfo
	o.ok("", "key", "rotate") // makes the database
	if out := o.ok("", "user", "list", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("nobody is %s", out)
	}
	o.ok("password", "user", "add", "bob", "--password-stdin")
	o.ok("password", "user", "add", "alice", "--group", "team-a", "--group", "admins", "--password-stdin")
	o.ok("", "user", "disable", "bob")
	o.into(&list, "", "user", "list")
	for i := range list {
		if age := time.Since(list[i].Created); age < 0 || age > time.Hour {
			t.Errorf("%s was created %v ago", list[i].Name, age)
		}
		list[i].Created = time.Time{}
	}
	want := []accountInfo{
		{Kind: "user", Name: "alice", Groups: []string{"team-a", "admins"}},
		{Kind: "user", Name: "bob", Groups: []string{}, Disabled: true},
	}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("got %+v", list)
	}
	var lines []string
	for line := range strings.Lines(o.ok("", "user", "list")) {
		lines = append(lines, strings.Join(strings.Fields(line)[:3], " "))
	}
	if want := []string{"NAME GROUPS STATE", "alice team-a,admins enabled", "bob - disabled"}; !reflect.DeepEqual(lines, want) {
		t.Errorf("the table is %q", lines)
	}
	var alice accountInfo
	o.into(&alice, "", "user", "groups", "alice", "new")
	if !reflect.DeepEqual(alice.Groups, []string{"new"}) {
		t.Errorf("groups %v", alice.Groups)
	}
	o.into(&alice, "", "user", "groups", "alice")
	if len(alice.Groups) != 0 {
		t.Errorf("groups %v", alice.Groups)
	}
}

func TestUserRefuses(t *testing.T) {
	t.Parallel()
	o := cli{t, newData(t)}
	o.ok("password", "user", "add", "alice", "--password-stdin")
	long := strings.Repeat("x", 73)
	for _, c := range []struct {
		input string
		words []string
		args  []string
	}{
		{"other", []string{`there is a user "alice" already`}, []string{"user", "add", "alice", "--password-stdin"}},
		{long, []string{"73 bytes", "no more than 72"}, []string{"user", "add", "bob", "--password-stdin"}},
		{strings.Repeat("x", 1<<20), []string{"much longer"}, []string{"user", "add", "bob", "--password-stdin"}},
		{"", []string{"the password is empty"}, []string{"user", "add", "bob", "--password-stdin"}},
		{"\n", []string{"the password is empty"}, []string{"user", "add", "bob", "--password-stdin"}},
		{"two\nlines\n", []string{"more than one line"}, []string{"user", "add", "bob", "--password-stdin"}},
		{"a\x00b", []string{"zero byte"}, []string{"user", "passwd", "alice", "--password-stdin"}},
		{"password", []string{"no terminal", "--password-stdin"}, []string{"user", "add", "bob"}},
		{"password", []string{"reserved"}, []string{"user", "add", "oidc", "--password-stdin"}},
		{"password", []string{"letters"}, []string{"user", "add", "robot+x", "--password-stdin"}},
		{"password", []string{"letter or a digit"}, []string{"user", "add", "_token", "--password-stdin"}},
		{"password", []string{"group"}, []string{"user", "add", "bob", "--group", "a b", "--password-stdin"}},
		{"", []string{"group"}, []string{"user", "groups", "alice", ""}},
		{"password", []string{`no user "bob"`}, []string{"user", "passwd", "bob", "--password-stdin"}},
		{"", []string{`no user "bob"`}, []string{"user", "remove", "bob"}},
		{"", []string{`no user "bob"`}, []string{"user", "disable", "bob"}},
		{"", []string{"arg"}, []string{"user", "add"}},
		{"", []string{"memory"}, []string{"user", "list", "--database-url", "sqlite::memory:", "--storage-bucket", "mem://"}},
	} {
		o.refused(c.input, c.words, c.args...)
	}
	var list []accountInfo
	if o.into(&list, "", "user", "list"); len(list) != 1 {
		t.Errorf("what was refused left %+v", list)
	}
}

// TestUserRemoveErasesHash checks that the database keeps no hash of a removed user or of a changed
// password, among users who stay.
func TestUserRemoveErasesHash(t *testing.T) {
	t.Parallel()
	o := cli{t, t.TempDir()}
	hashes := func() int {
		t.Helper()
		n := 0
		for _, name := range []string{"berth.db", "berth.db-wal"} {
			text, err := os.ReadFile(filepath.Join(o.data, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			n += bytes.Count(text, []byte("$2a$10$"))
		}
		return n
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		o.ok("correct horse\n", "user", "add", name, "--password-stdin")
	}
	if n := hashes(); n != 3 {
		t.Fatalf("%d hashes of three users", n)
	}
	o.ok("battery staple\n", "user", "passwd", "carol", "--password-stdin")
	o.ok("", "user", "remove", "alice")
	if n := hashes(); n != 2 {
		t.Errorf("%d hashes of two users", n)
	}
	o.ok("", "user", "remove", "bob")
	o.ok("", "user", "remove", "carol")
	if n := hashes(); n != 0 {
		t.Errorf("%d hashes of no users", n)
	}
}

package login

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
)

func TestHtpasswd(t *testing.T) {
	hash := fakeHash("p", 10)
	a, b, y := hash, "$2b$"+hash[4:], "$2y$"+hash[4:]
	f := newFixture(t, nil,
		"# users of team a\n\nalice:"+a+"\r\n  bob:"+b+"  \n#eve:x\n",
		"zoe@example.org:"+y) // no newline at the end
	for name, want := range map[string]string{"alice": a, "bob": b, "zoe@example.org": y} {
		if u, ok := f.files.find(name); !ok || u.hash != want {
			t.Errorf("%s has the hash %q", name, u.hash)
		}
	}
	for _, name := range []string{"eve", "#eve", "", "Alice"} {
		if _, ok := f.files.find(name); ok {
			t.Errorf("%q is a user", name)
		}
	}
}

func TestHtpasswdRefuses(t *testing.T) {
	good := fakeHash("secret", 10)
	for _, c := range []struct{ line, want string }{
		{"hunter2hunter2", "expected NAME:HASH"},
		{":" + good, "the name is not one"},
		{"_token:" + good, "the name is not one"},
		{"robot+x:" + good, "the name is not one"},
		{"a b:" + good, "the name is not one"},
		{"al\xffice:" + good, "the name is not one"},
		{"alice:hunter2", "not bcrypt's"},
		{"alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "not bcrypt's"},
		{"alice:$apr1$qHDFfhPC$nITSVHgYbDAK1Y0acGRnY0", "not bcrypt's"},
		{"alice:$2x$" + good[4:], "not bcrypt's"},
		{"alice:" + good + "x", "not bcrypt's"},
		{"alice:" + good[:59], "not bcrypt's"},
		{"alice:" + good + ":extra", "not bcrypt's"},
		{"alice:" + good[:30] + "é" + good[32:], "not bcrypt's"},
		{"alice:$2a$07$" + good[7:], "cost 7: it may be 8 to 14"},
		{"alice:$2a$15$" + good[7:], "cost 15: it may be 8 to 14"},
		{"alice:$2a$xx$" + good[7:], "no cost"},
		{"bob:" + good, "stands at PATH:2 already"},
	} {
		path := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(path, []byte("# good\nbob:"+good+"\n"+c.line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(t.Context(), Options{Htpasswd: []string{path}})
		if err == nil {
			t.Errorf("%q was taken", c.line)
			continue
		}
		if want := path + ":3: "; !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), strings.ReplaceAll(c.want, "PATH", path)) {
			t.Errorf("%q: %v", c.line, err)
		}
		for part := range strings.SplitSeq(c.line, ":") {
			if len(part) > 6 && strings.Contains(err.Error(), part) {
				t.Errorf("%q is in the error: %v", part, err)
			}
		}
	}
}

// All faulty lines are named, up to a limit for a file that is not an htpasswd file at all.
func TestHtpasswdNamesEachLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(strings.Repeat("x\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openHtpasswd([]string{path}, nil)
	if err == nil || strings.Count(err.Error(), path) != maxLineErrors {
		t.Errorf("%v", err)
	}
}

func TestHtpasswdMissing(t *testing.T) {
	if _, err := New(t.Context(), Options{Htpasswd: []string{"/nowhere/users"}}); err == nil || !strings.Contains(err.Error(), "/nowhere/users") {
		t.Errorf("%v", err)
	}
}

// A file that cannot be loaded leaves all users as they were.
func TestHtpasswdReload(t *testing.T) {
	line := func(name, password string) string { return name + ":" + fakeHash(password, 10) + "\n" }
	f := newFixture(t, nil, line("alice", "old"), line("bob", "bobs"))
	alice, bob := f.mustLogin("alice", "old"), f.mustLogin("bob", "bobs")
	f.alive("before", alice)

	f.writeHtpasswd(0, line("alice", "new"))
	f.alive("not reloaded", alice)
	path := f.writeHtpasswd(1, "bob\n")
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), path+":1") {
		t.Errorf("a bad file: %v", err)
	}
	f.alive("after a bad file", alice)
	f.mustLogin("alice", "old")

	f.writeHtpasswd(1, line("carol", "carols"))
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	f.dead("another password", alice)
	f.dead("gone from the file", bob)
	f.refused("alice", "old", auth.ErrCredentials)
	f.refused("bob", "bobs", auth.ErrCredentials)
	f.mustLogin("alice", "new")
	f.mustLogin("carol", "carols")
}

// A database user shadows the htpasswd user of the same name for as long as its row exists. The log
// says so once.
func TestHtpasswdShadowed(t *testing.T) {
	f := newFixture(t, nil, "alice:"+fakeHash("files", 10))
	inFile := f.mustLogin("alice", "files")
	id := f.addUser("alice", "rows", 10)
	f.dead("outdone", inFile)
	f.refused("alice", "files", auth.ErrCredentials)
	inRows := f.mustLogin("alice", "rows")
	f.mustLogin("alice", "rows")
	if log := f.log.String(); strings.Count(log, "users0:1") != 1 {
		t.Errorf("the log says:\n%s", log)
	}
	f.write(func(tx *rows.Tx) error { return tx.SetDisabled(id, true) })
	f.refused("alice", "files", auth.ErrCredentials)
	f.write(func(tx *rows.Tx) error { return tx.DeleteAccount(id) })
	f.dead("gone", inRows)
	f.alive("alone again", inFile)
	f.mustLogin("alice", "files")
}

// FuzzHtpasswd: any file is loaded or refused. Loaded users are well-formed, and an error quotes
// nothing of the file.
func FuzzHtpasswd(f *testing.F) {
	good := fakeHash("p", 10)
	for _, text := range []string{
		"", "\n", "# x\n", "alice:" + good, "alice:" + good + "\r\nbob:$2y$" + good[4:] + "\n", "alice:" + good + "\nalice:" + good, "alice", "alice:", ":", ":" + good,
		"alice:$2a$99$" + good[7:], "alice:$2a$1", "\xef\xbb\xbfalice:" + good, "a:b:c", "al\x00ice:" + good, strings.Repeat(":", 100),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u := &fileUsers{byName: make(map[string]fileUser)}
		err := u.add("F", data)
		for name, line := range u.byName {
			cost, bad := checkHash(line.hash)
			if bad != nil || cost > u.highestCost || auth.CheckAccountName(name) != nil || !strings.HasPrefix(line.position, "F:") {
				t.Errorf("%q with %q at %s was taken", name, line.hash, line.position)
			}
		}
		if err == nil {
			return
		}
		if !utf8.ValidString(err.Error()) || strings.Count(err.Error(), "\n") >= maxLineErrors {
			t.Errorf("the error is %q", err)
		}
		// Each message of the error names a line, and begins like one of the known messages.
		known := []string{"expected NAME:HASH", "the name ", "the hash "}
		for complaint := range strings.SplitSeq(err.Error(), "\n") {
			var number int
			if n, _ := fmt.Sscanf(complaint, "F:%d:", &number); n != 1 {
				t.Errorf("no line in %q", complaint)
			}
			_, rest, _ := strings.Cut(complaint, ": ")
			if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(rest, k) }) {
				t.Errorf("%q says something else", complaint)
			}
		}
	})
}

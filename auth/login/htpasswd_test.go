package login

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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

// TestHtpasswdFaultyLines: the user of a faulty line cannot log in, and the others can. A file
// without any user who can is refused. What is said has the line's position and quotes none of it.
func TestHtpasswdFaultyLines(t *testing.T) {
	good, other := fakeHash("secret", 10), fakeHash("other", 10)
	for _, c := range []struct{ line, want string }{
		{"hunter2hunter2", "expected NAME:HASH"},
		{":" + good, "the name is not one"},
		{"_token:" + good, "the name is not one"},
		{"robot+x:" + good, "the name is not one"},
		{"a b:" + good, "the name is not one"},
		{"al\xffice:" + good, "the name is not one"},
		{"alice:hunter2", "not bcrypt's"},
		{"alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "not bcrypt's"},
		{"alice:$apr1$qHDFfhPC$nITSVHgYbDAK1Y0acGRnY0", "htpasswd -B -C 10 makes one"},
		{"alice:$2x$" + good[4:], "not bcrypt's"},
		{"alice:" + good + "x", "not bcrypt's"},
		{"alice:" + good[:59], "not bcrypt's"},
		{"alice:" + good + ":extra", "not bcrypt's"},
		{"alice:" + good[:30] + "é" + good[32:], "not bcrypt's"},
		{"alice:$2a$15$" + good[7:], "cost 15: it may be 4 to 14 (htpasswd -B -C 10)"},
		{"alice:$2a$03$" + good[7:], "no cost"},
		{"alice:$2a$xx$" + good[7:], "no cost"},
		{"carol:" + other, "stands at PATH:2 already, and neither line counts"},
		{"carol:", "stands at PATH:2 already"},
	} {
		f := newFixture(t, nil, "# good\ncarol:"+good+"\n"+c.line+"\nbob:"+good+"\n")
		path := filepath.Join(f.dir, "users0")
		position := path + ":3: "
		want := strings.ReplaceAll(c.want, "PATH", path)
		faults, weak := f.Complaints()
		if len(faults) != 1 || len(weak) > 0 || !strings.HasPrefix(faults[0], position) || !strings.Contains(faults[0], want) ||
			!strings.HasSuffix(faults[0], "a user of this line cannot log in") {
			t.Errorf("%q: %q, %q", c.line, faults, weak)
			continue
		}
		for part := range strings.SplitSeq(c.line, ":") {
			if len(part) > 6 && strings.Contains(faults[0], part) {
				t.Errorf("%q is said: %s", part, faults[0])
			}
		}
		f.mustLogin("bob", "secret")
		name, _, _ := strings.Cut(c.line, ":")
		for _, password := range []string{"secret", "other"} {
			f.refused(name, password, auth.ErrCredentials)
		}

		if strings.HasPrefix(name, "carol") {
			continue
		}
		if err := os.WriteFile(path, []byte("\n\n"+c.line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(t.Context(), Options{Htpasswd: []string{path}})
		if err == nil || !strings.HasPrefix(err.Error(), position) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q alone: %v", c.line, err)
		}
	}
}

// TestHtpasswdCountsFaultyLines: of many faulty lines the first ones are named and the others
// counted, whether the file can be used or not.
func TestHtpasswdCountsFaultyLines(t *testing.T) {
	bad := strings.Repeat("x\n", 1000)
	f := newFixture(t, nil, bad+"bob:"+fakeHash("p", 10))
	faults, _ := f.Complaints()
	path := filepath.Join(f.dir, "users0")
	if len(faults) != maxLineErrors+1 || faults[maxLineErrors] != path+": and 990 more such lines" {
		t.Errorf("%q", faults)
	}
	f.writeHtpasswd(0, bad)
	_, err := openHtpasswd([]string{path}, nil)
	if err == nil || strings.Count(err.Error(), path) != maxLineErrors+1 || !strings.Contains(err.Error(), "990 more") {
		t.Errorf("%v", err)
	}
}

// TestHtpasswdNamesOfTwoFiles: a name in two files loses both lines, which leaves the second file
// without a user here.
func TestHtpasswdNamesOfTwoFiles(t *testing.T) {
	hash := fakeHash("p", 10)
	f := newFixture(t, nil, "alice:"+hash+"\nbob:"+hash, "alice:"+hash+"\ncarol:"+hash)
	if faults, _ := f.Complaints(); len(faults) != 1 || !strings.Contains(faults[0], "users1:1: the name stands at "+filepath.Join(f.dir, "users0")+":1 already") {
		t.Errorf("%q", faults)
	}
	f.refused("alice", "p", auth.ErrCredentials)
	f.mustLogin("bob", "p")
	f.mustLogin("carol", "p")
	f.writeHtpasswd(1, "alice:"+hash)
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), "users1:1: the name stands at") {
		t.Errorf("%v", err)
	}
	f.mustLogin("carol", "p")
}

// TestHtpasswdLowCost: hashes as htpasswd -B makes them by itself are accepted, with one warning
// for each file. They do not tell which users exist.
func TestHtpasswdLowCost(t *testing.T) {
	f := newFixture(t, nil,
		"alice:"+fakeHash("p", 5)+"\nbob:"+fakeHash("p", 4)+"\n\n", "carol:"+fakeHash("p", 7), "dave:"+fakeHash("p", 8))
	faults, weak := f.Complaints()
	if len(faults) > 0 || len(weak) != 2 || !strings.Contains(weak[0], "users0 has hashes of the bcrypt cost 4") ||
		!strings.Contains(weak[1], "users1 has hashes of the bcrypt cost 7") || !strings.Contains(weak[0], "htpasswd -B -C 10 ") {
		t.Errorf("%q, %q", faults, weak)
	}
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		f.mustLogin(name, "p")
	}
	f.spent()
	for _, name := range []string{"alice", "bob", "carol", "dave", "nobody"} {
		f.advance(time.Hour)
		f.refused(name, "wrong", auth.ErrCredentials)
		if runs := f.spent(); work(runs) != 1<<8 {
			t.Errorf("%s: runs of costs %v, want the work of one of 8", name, runs)
		}
	}
	f.writeHtpasswd(0, "alice:"+fakeHash("p", 10)+"\nbob\n")
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	faults, weak = f.Complaints()
	if len(weak) != 1 || !strings.Contains(weak[0], "users1 has hashes") || len(faults) != 1 || !strings.Contains(faults[0], "users0:2: expected NAME:HASH") {
		t.Errorf("after a reload: %q, %q", faults, weak)
	}
}

// TestHtpasswdWithoutUsers: an empty file, as a failed htpasswd leaves it behind, is worth a
// warning.
func TestHtpasswdWithoutUsers(t *testing.T) {
	f := newFixture(t, nil, "", "alice:"+fakeHash("p", 10))
	path := filepath.Join(f.dir, "users0")
	if faults, warnings := f.Complaints(); len(faults) > 0 || !slices.Equal(warnings, []string{path + " has no user"}) {
		t.Errorf("%q, %q", faults, warnings)
	}
}

// TestHtpasswdOfWindows: a byte order mark is skipped, and UTF-16 is named.
func TestHtpasswdOfWindows(t *testing.T) {
	line := "alice:" + fakeHash("p", 10) + "\r\n"
	f := newFixture(t, nil, byteOrderMark+line)
	f.mustLogin("alice", "p")
	utf16 := "\xff\xfe"
	for _, c := range []byte(line) {
		utf16 += string([]byte{c, 0})
	}
	f.writeHtpasswd(0, utf16)
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), "users0 is in UTF-16") || !strings.Contains(err.Error(), "-Encoding ascii") {
		t.Errorf("%v", err)
	}
	f.mustLogin("alice", "p")
}

func TestHtpasswdMissing(t *testing.T) {
	if _, err := New(t.Context(), Options{Htpasswd: []string{"/nowhere/users"}}); err == nil || !strings.Contains(err.Error(), "/nowhere/users") {
		t.Errorf("%v", err)
	}
}

// A file that cannot be used leaves all users as they were. One with a faulty line is used.
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

	f.writeHtpasswd(1, line("carol", "carols")+"bob\n")
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

// FuzzHtpasswd: any file is loaded or refused. Loaded users are well-formed, and what is said of a
// line quotes nothing of it.
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
		usable := 0
		for name, line := range u.byName {
			if auth.CheckAccountName(name) != nil || !strings.HasPrefix(line.position, "F:") {
				t.Errorf("%q at %s was taken", name, line.position)
			}
			if line.hash == "" {
				continue
			}
			usable++
			if cost, bad := checkHash(line.hash); bad != nil || cost > u.highestCost {
				t.Errorf("%q with %q was taken", name, line.hash)
			}
		}
		if err != nil && (usable > 0 || len(u.faults) > 0) {
			t.Errorf("%d usable, with %q and %v", usable, u.faults, err)
		}
		complaints := u.faults
		if err != nil {
			complaints = strings.Split(err.Error(), "\n")
		}
		if !utf8.ValidString(strings.Join(complaints, "")) || len(complaints) > maxLineErrors+1 {
			t.Errorf("the complaints are %q", complaints)
		}
		// Each one names a line, and begins like one of the known messages.
		known := []string{"expected NAME:HASH", "the name ", "the hash "}
		for _, complaint := range complaints[:min(len(complaints), maxLineErrors)] {
			var number int
			if n, _ := fmt.Sscanf(complaint, "F:%d:", &number); n != 1 && !strings.HasPrefix(complaint, "F is in UTF-16") {
				t.Errorf("no line in %q", complaint)
			}
			_, rest, line := strings.Cut(complaint, ": ")
			if !line {
				continue
			}
			if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(rest, k) }) {
				t.Errorf("%q says something else", complaint)
			}
		}
	})
}

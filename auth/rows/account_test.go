package rows

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

// openAuth opens a database. A second call with the same url is like another process.
func openAuth(t *testing.T, url string) *DB { return New(dbtest.Open(t, url)) }

// write runs fn in a transaction that must succeed.
func write(t *testing.T, db *DB, fn func(*Tx) error) {
	t.Helper()
	if err := db.Tx(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// change runs fn in a transaction of db, and reports whether other, on the same database, sees
// another AuthVersion afterwards.
func change(t *testing.T, db, other *DB, fn func(*Tx) error) bool {
	t.Helper()
	before, err := other.AuthVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, db, fn)
	after, err := other.AuthVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return before != after
}

func newAccount(t *testing.T, db *DB, a Account) int64 {
	t.Helper()
	var id int64
	write(t, db, func(tx *Tx) (err error) {
		id, err = tx.CreateAccount(a)
		return err
	})
	return id
}

// testAccountChanges checks that another handle on the same file sees each change of an account.
func testAccountChanges(t *testing.T, url string) {
	db, other := openAuth(t, url), openAuth(t, url)
	want := Account{Kind: "user", Name: "alice", PasswordHash: "$2a$10$x", PasswordCost: 10, Groups: []string{"a", "b"}, CreatedAt: 7}
	check := func(what string) {
		t.Helper()
		got, err := other.Account(t.Context(), "user", "alice")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("after %s: got %#v, %v", what, got, err)
		}
		if byID, err := other.AccountByID(t.Context(), want.ID); err != nil || !reflect.DeepEqual(byID, got) {
			t.Errorf("after %s, by id: got %#v, %v", what, byID, err)
		}
	}
	step := func(what string, fn func(*Tx) error) {
		t.Helper()
		if !change(t, db, other, fn) {
			t.Errorf("%s leaves the version", what)
		}
	}
	step("creating", func(tx *Tx) (err error) {
		want.ID, err = tx.CreateAccount(want)
		return err
	})
	check("creating")
	step("a password", func(tx *Tx) error { return tx.SetPassword(want.ID, "$2a$12$y", 12) })
	want.PasswordHash, want.PasswordCost, want.Stamp = "$2a$12$y", 12, 1
	check("a password")
	step("groups", func(tx *Tx) error { return tx.SetGroups(want.ID, nil) })
	want.Groups = nil
	check("groups")
	step("disabling", func(tx *Tx) error { return tx.SetDisabled(want.ID, true) })
	want.Disabled = true
	check("disabling")
	step("enabling", func(tx *Tx) error { return tx.SetDisabled(want.ID, false) })
	want.Disabled = false
	check("enabling")
	step("removing", func(tx *Tx) error { return tx.DeleteAccount(want.ID) })
	if _, err := other.Account(t.Context(), "user", "alice"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	if again := newAccount(t, db, want); again == want.ID {
		t.Error("an id was given away again")
	}
}

func testAccountNotThere(t *testing.T, url string) {
	db := openAuth(t, url)
	for what, fn := range map[string]func(*Tx) error{
		"password": func(tx *Tx) error { return tx.SetPassword(9, "", 0) },
		"groups":   func(tx *Tx) error { return tx.SetGroups(9, []string{"a"}) },
		"disabled": func(tx *Tx) error { return tx.SetDisabled(9, true) },
		"delete":   func(tx *Tx) error { return tx.DeleteAccount(9) },
		"token":    func(tx *Tx) error { return tx.DeleteAuthToken(9) },
		"key":      func(tx *Tx) error { return tx.DeleteSigningKey("9") },
	} {
		if err := db.Tx(context.Background(), fn); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// testAccountNames checks that names are unique among users, but a robot may have the same name.
func testAccountNames(t *testing.T, url string) {
	db := openAuth(t, url)
	for i := range 5 {
		newAccount(t, db, Account{Kind: "user", Name: fmt.Sprintf("u%d", i)})
	}
	newAccount(t, db, Account{Kind: "robot", Name: "u1"})
	err := db.Tx(context.Background(), func(tx *Tx) error {
		_, err := tx.CreateAccount(Account{Kind: "user", Name: "u1"})
		return err
	})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second u1: %v", err)
	}
	var got []string
	for last := ""; ; {
		page, err := db.Accounts(t.Context(), "user", last, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			got = append(got, a.Name)
			last = a.Name
		}
	}
	if want := []string{"u0", "u1", "u2", "u3", "u4"}; !reflect.DeepEqual(got, want) {
		t.Errorf("listed %v", got)
	}
}

func testHighestPasswordCost(t *testing.T, url string) {
	db := openAuth(t, url)
	for _, c := range []struct{ add, want int }{{0, 0}, {10, 10}, {12, 12}, {11, 12}} {
		newAccount(t, db, Account{Kind: "user", Name: fmt.Sprint("u", c.add), PasswordCost: c.add})
		if got, err := db.HighestPasswordCost(t.Context()); got != c.want || err != nil {
			t.Errorf("after %d: %d, %v", c.add, got, err)
		}
	}
}

// testEnableAuth checks that authentication stays enabled when the last user is removed.
func testEnableAuth(t *testing.T, url string) {
	db := openAuth(t, url)
	enabled := func(want bool) {
		t.Helper()
		if got, err := db.AuthEnabled(t.Context()); got != want || err != nil {
			t.Errorf("enabled: %v, %v", got, err)
		}
	}
	newAccount(t, db, Account{Kind: "robot", Name: "r"})
	enabled(false)
	id := newAccount(t, db, Account{Kind: "user", Name: "u"})
	enabled(true)
	write(t, db, func(tx *Tx) error { return tx.DeleteAccount(id) })
	enabled(true)
	if change(t, db, db, func(tx *Tx) error { return tx.EnableAuth(9) }) {
		t.Error("enabling it again changed something")
	}
}

func testHasAccounts(t *testing.T, url string) {
	db := openAuth(t, url)
	check := func(want bool) {
		t.Helper()
		if got, err := db.HasAccounts(t.Context()); got != want || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	write(t, db, func(tx *Tx) error { _, err := tx.exec(`INSERT INTO repositories (name) VALUES ('a')`); return err })
	check(false)
	id := newAccount(t, db, Account{Kind: "robot", Name: "r"})
	check(true)
	write(t, db, func(tx *Tx) error { return tx.DeleteAccount(id) })
	check(false)
}

func testHasAccount(t *testing.T, url string) {
	db := openAuth(t, url)
	newAccount(t, db, Account{Kind: "robot", Name: "r"})
	for name, want := range map[[2]string]bool{{"robot", "r"}: true, {"user", "r"}: false, {"robot", "R"}: false, {"robot", ""}: false, {"robot", "r\x00"}: false, {"robot", "\xff"}: false} {
		if got, err := db.HasAccount(t.Context(), name[0], name[1]); got != want || err != nil {
			t.Errorf("%v: %v, %v", name, got, err)
		}
		if _, err := db.Account(t.Context(), name[0], name[1]); (err == nil) != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the account %q: %v", name, err)
		}
		if _, err := db.SimilarName(t.Context(), name[0], name[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a name like %q: %v", name, err)
		}
	}
}

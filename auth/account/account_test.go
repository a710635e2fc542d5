package account

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
)

// fixture is the service of a new database, with a clock that stands still.
type fixture struct {
	*Service
	t    *testing.T
	db   *db.DB
	rows *rows.DB
	time time.Time
}

func newFixture(t *testing.T) *fixture { return newFixtureOn(t, dbtest.Memory) }

func newFixtureOn(t *testing.T, url string) *fixture {
	d := dbtest.Open(t, url)
	w := &fixture{t: t, db: d, rows: rows.New(d), time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.Service = New(w.rows, func() time.Time { return w.time })
	return w
}

// onEngines runs a test on every engine.
func onEngines(t *testing.T, test func(t *testing.T, w *fixture)) {
	t.Run("sqlite", func(t *testing.T) { test(t, newFixture(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, newFixtureOn(t, dbtest.Postgres(t))) })
}

func (w *fixture) addUser(name string, groups ...string) Account {
	w.t.Helper()
	a, err := w.AddUser(w.t.Context(), name, groups, "correct horse")
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// hash returns the password hash of a user.
func (w *fixture) hash(name string) string {
	w.t.Helper()
	a, err := w.rows.Account(w.t.Context(), string(auth.User), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.PasswordHash
}

func (w *fixture) names(kind auth.Kind) (names []string) {
	w.t.Helper()
	for a, err := range w.Accounts(w.t.Context(), kind) {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, a.Name)
	}
	return names
}

func TestUsers(t *testing.T) { onEngines(t, testUsers) }

func testUsers(t *testing.T, w *fixture) {
	ctx := t.Context()
	alice := w.addUser("alice", "dev", "ops")
	found, err := w.AccountOf(ctx, "alice")
	if err != nil || !reflect.DeepEqual(found, alice) || alice.Created != w.time || alice.userName() != "alice" {
		t.Errorf("added %+v, found %+v, %v", alice, found, err)
	}
	if err := w.CheckUnused(ctx, auth.User, "alice"); !errors.Is(err, ErrExists) {
		t.Errorf("the name is taken: %v", err)
	}
	if err := w.CheckUnused(ctx, auth.User, "bob"); err != nil {
		t.Errorf("the name is free: %v", err)
	}
	if _, err := w.AddUser(ctx, "alice", nil, "another password"); !errors.Is(err, ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	if a, err := w.SetGroups(ctx, alice, []string{"qa"}); err != nil || !reflect.DeepEqual(a.Groups, []string{"qa"}) {
		t.Errorf("groups: %+v, %v", a, err)
	}
	if a, err := w.SetDisabled(ctx, alice, true); err != nil || !a.Disabled {
		t.Errorf("disabled: %+v, %v", a, err)
	}
	found, err = w.Account(ctx, auth.User, "alice")
	if err != nil || !found.Disabled || !reflect.DeepEqual(found.Groups, []string{"qa"}) {
		t.Errorf("after the changes: %+v, %v", found, err)
	}
	if err := w.Remove(ctx, alice); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AccountOf(ctx, "alice"); !errors.Is(err, ErrUnknown) {
		t.Errorf("after the removal: %v", err)
	}
	if err := w.Remove(ctx, alice); err == nil {
		t.Error("removed twice")
	}
}

// TestBadNames checks that a bad name, group or password adds nothing and changes nothing.
func TestBadNames(t *testing.T) { onEngines(t, testBadNames) }

func testBadNames(t *testing.T, w *fixture) {
	alice := w.addUser("alice")
	for _, c := range []struct {
		name     string
		groups   []string
		password string
	}{
		{name: "", password: "correct horse"}, {name: "a/b", password: "correct horse"},
		{name: "bob", groups: []string{"a b"}, password: "correct horse"}, {name: "bob", password: ""},
		{name: "bob", password: strings.Repeat("a", 100)},
	} {
		if _, err := w.AddUser(t.Context(), c.name, c.groups, c.password); err == nil {
			t.Errorf("%+v is added", c)
		}
	}
	if _, err := w.SetGroups(t.Context(), alice, []string{"A B"}); err == nil {
		t.Error("a group has a bad name")
	}
	before := w.hash("alice")
	if err := w.SetPassword(t.Context(), alice, "", false); err == nil || w.hash("alice") != before {
		t.Errorf("an empty password: %v", err)
	}
	if got := w.names(auth.User); !reflect.DeepEqual(got, []string{"alice"}) {
		t.Errorf("there are %q", got)
	}
}

// TestSetPassword checks that a new password revokes the tokens unless keepTokens is set.
func TestSetPassword(t *testing.T) { onEngines(t, testSetPassword) }

func testSetPassword(t *testing.T, w *fixture) {
	alice := w.addUser("alice")
	scope, _ := auth.ParseScope("repository:a:pull")
	if _, _, err := w.CreateToken(t.Context(), alice, TokenOptions{Scope: scope, Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{true, false} {
		before := w.hash("alice")
		if err := w.SetPassword(t.Context(), alice, "battery staple", keep); err != nil || w.hash("alice") == before {
			t.Fatalf("not changed: %v", err)
		}
		tokens, err := w.TokensOf(t.Context(), alice)
		if err != nil || (len(tokens) == 1) != keep {
			t.Errorf("keep %t leaves %d tokens, %v", keep, len(tokens), err)
		}
	}
}

// TestAccountsInPages lists more accounts than one page has, and checks that the caller may stop
// early.
func TestAccountsInPages(t *testing.T) { onEngines(t, testAccountsInPages) }

func testAccountsInPages(t *testing.T, w *fixture) {
	const all = pageSize + 1
	err := w.rows.Tx(t.Context(), func(tx *rows.Tx) error {
		for i := range all {
			a := rows.Account{Kind: string(auth.Robot), Name: fmt.Sprintf("robot-%04d", i)}
			if _, err := tx.CreateAccount(a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.names(auth.Robot); len(got) != all || got[all-1] != fmt.Sprintf("robot-%04d", all-1) {
		t.Errorf("%d accounts, want %d", len(got), all)
	}
	for range w.Accounts(t.Context(), auth.Robot) {
		break
	}
}

func TestFirstUser(t *testing.T) { onEngines(t, testFirstUser) }

func testFirstUser(t *testing.T, w *fixture) {
	if added, err := w.AddFirstUser(t.Context()); !added || err != nil {
		t.Fatalf("the first user is added: %t, %v", added, err)
	}
	if again, err := w.AddFirstUser(t.Context()); again || err != nil {
		t.Errorf("another first user: %t, %v", again, err)
	}
	if a, err := w.AccountOf(t.Context(), FirstUser); err != nil || a.Kind != auth.User {
		t.Errorf("the first user is %+v, %v", a, err)
	}
	if on, err := w.rows.AuthEnabled(t.Context()); !on || err != nil {
		t.Errorf("authentication is on: %t, %v", on, err)
	}
}

// TestDatabaseFails checks that an error of the database names the operation that failed.
func TestDatabaseFails(t *testing.T) { onEngines(t, testDatabaseFails) }

func testDatabaseFails(t *testing.T, w *fixture) {
	alice := w.addUser("alice")
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	for want, do := range map[string]func(ctx context.Context) error{
		`reading the user "alice"`: func(ctx context.Context) error { _, err := w.AccountOf(ctx, "alice"); return err },
		"reading the robot":        func(ctx context.Context) error { return w.CheckUnused(ctx, auth.Robot, "a") },
		"reading the users":        func(ctx context.Context) error { _, err := w.Tokens(ctx); return err },
		"changing the account":     func(ctx context.Context) error { return w.Remove(ctx, alice) },
		"making the user admin":    func(ctx context.Context) error { _, err := w.AddFirstUser(ctx); return err },
		"creating the token":       func(ctx context.Context) error { _, _, err := w.CreateToken(ctx, alice, TokenOptions{}); return err },
		"revoking token 1":         func(ctx context.Context) error { return w.Revoke(ctx, 1) },
		"adding the user": func(ctx context.Context) error {
			_, err := w.AddUser(ctx, "bob", nil, "correct horse")
			return err
		},
	} {
		err := do(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, db.ErrClosed) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestNamesDifferNotInCaseOnly checks that a new account's name differs from all others of its kind
// in more than the case of letters, and that older accounts whose names do not go on working.
func TestNamesDifferNotInCaseOnly(t *testing.T) { onEngines(t, testNamesDifferNotInCaseOnly) }

func testNamesDifferNotInCaseOnly(t *testing.T, w *fixture) {
	ctx := t.Context()
	w.addUser("alice")
	const want = `there is a user "alice" already, and "ALICE" differs from it only in the case`
	if err := w.CheckUnused(ctx, auth.User, "ALICE"); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), want) {
		t.Errorf("checking: %v", err)
	}
	if _, err := w.AddUser(ctx, "ALICE", nil, "correct horse"); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), want) {
		t.Errorf("adding: %v", err)
	}
	for _, name := range []string{"Alice", "alice"} { // the first is new: a robot is of another kind
		_, _, err := w.CreateRobot(ctx, name, nil, TokenOptions{Lifetime: time.Hour})
		if taken := name == "alice"; taken != errors.Is(err, ErrExists) || !taken && err != nil {
			t.Errorf("robot %s: %v", name, err)
		}
	}
	err := w.rows.Tx(ctx, func(tx *rows.Tx) error { // as an earlier version made it
		_, err := tx.CreateAccount(rows.Account{Kind: "user", Name: "Alice", CreatedAt: 1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "Alice"} {
		a, err := w.Account(ctx, auth.User, name)
		if err != nil || a.Name != name {
			t.Fatalf("%s: %+v, %v", name, a, err)
		}
		if err := w.SetPassword(ctx, a, "battery staple", false); err != nil {
			t.Error(err)
		}
		if err := w.CheckUnused(ctx, auth.User, name); err == nil || !strings.HasSuffix(err.Error(), name+`" already`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRacingUsers checks that of processes that start at the same time one makes the first user,
// and that of names that differ in the case of letters alone one is taken.
func TestRacingUsers(t *testing.T) {
	url := dbtest.Postgres(t)
	var processes []*fixture
	for range 8 {
		processes = append(processes, newFixtureOn(t, url))
	}
	race := func(f func(i int, w *fixture) (bool, error)) {
		t.Helper()
		added := make([]bool, len(processes))
		var g sync.WaitGroup
		for i, w := range processes {
			g.Go(func() {
				var err error
				if added[i], err = f(i, w); err != nil {
					t.Error(err)
				}
			})
		}
		g.Wait()
		if n := len(slices.DeleteFunc(added, func(added bool) bool { return !added })); n != 1 {
			t.Errorf("%d users were added", n)
		}
	}
	race(func(_ int, w *fixture) (bool, error) { return w.AddFirstUser(t.Context()) })
	race(func(i int, w *fixture) (bool, error) {
		_, err := w.AddUser(t.Context(), []string{"alice", "Alice", "aLice", "ALICE"}[i%4], nil, "correct horse")
		if errors.Is(err, ErrExists) {
			return false, nil
		}
		return err == nil, err
	})
}

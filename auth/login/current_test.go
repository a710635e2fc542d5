package login

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
)

// A4: a change of an account by another process acts on the next request, whatever the credential.
func TestA4AccountChanges(t *testing.T) {
	for _, c := range []struct {
		what            string
		change          func(tx *rows.Tx, account, token int64) error
		password, token bool // remains valid
	}{
		{"removed", func(tx *rows.Tx, a, _ int64) error { return tx.DeleteAccount(a) }, false, false},
		{"disabled", func(tx *rows.Tx, a, _ int64) error { return tx.SetDisabled(a, true) }, false, false},
		{"password", func(tx *rows.Tx, a, _ int64) error { return tx.SetPassword(a, fakeHash("new", 10), 10) }, false, true},
		{"the same password", func(tx *rows.Tx, a, _ int64) error { return tx.SetPassword(a, fakeHash("old", 10), 10) }, false, true},
		{"token", func(tx *rows.Tx, _, token int64) error { return tx.DeleteAuthToken(token) }, true, false},
		{"tokens", func(tx *rows.Tx, a, _ int64) error { return tx.DeleteAuthTokensOf(a) }, true, false},
		{"nothing", func(tx *rows.Tx, _, token int64) error { return tx.TouchAuthToken(token, 1) }, true, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := newFixture(t, nil)
			account := f.addUser("alice", "old", 10)
			secret, token := f.addToken(PersonalToken, account, someScope, time.Hour)
			byPassword, byToken := f.mustLogin("alice", "old"), f.mustLogin("alice", secret)
			check := func(id auth.Identity, alive bool) {
				t.Helper()
				if alive {
					f.alive(c.what, id)
				} else {
					f.dead(c.what, id)
				}
			}
			for range 2 { // the second time from the cache
				check(byPassword, true)
				check(byToken, true)
			}
			f.write(func(tx *rows.Tx) error { return c.change(tx, account, token) })
			for range 2 {
				check(byPassword, c.password)
				check(byToken, c.token)
			}
			if _, err := f.login("alice", secret); c.token != (err == nil) {
				t.Errorf("the token logs in: %v", err)
			}
		})
	}
}

// A4: groups are the current ones.
func TestA4Groups(t *testing.T) {
	f := newFixture(t, nil)
	account := f.addUser("alice", "p", 10, "old")
	secret, _ := f.addToken(PersonalToken, account, someScope, time.Hour)
	for _, id := range []auth.Identity{f.mustLogin("alice", "p"), f.mustLogin("alice", secret)} {
		for _, groups := range [][]string{{"old"}, {"new", "other"}, nil} {
			f.write(func(tx *rows.Tx) error { return tx.SetGroups(account, groups) })
			if now := f.alive("groups", id); !slices.Equal(now.Groups, groups) {
				t.Errorf("%s: groups %v, want %v", id.Credential, now.Groups, groups)
			}
		}
	}
}

// N2: a new owner of a name gets nothing of the old owner, by any credential proved before.
func TestN2NameGivenAgain(t *testing.T) {
	f := newFixture(t, nil)
	account := f.addUser("alice", "p", 10)
	secret, _ := f.addToken(PersonalToken, account, someScope, time.Hour)
	before := []auth.Identity{f.mustLogin("alice", "p"), f.mustLogin("alice", secret)}
	f.write(func(tx *rows.Tx) error { return tx.DeleteAccount(account) })
	again := f.addUser("alice", "p", 10)
	f.addToken(PersonalToken, again, someScope, time.Hour)
	for _, id := range before {
		f.dead("the name is another's", id)
	}
	f.refused("alice", secret, auth.ErrCredentials)
	f.mustLogin("alice", "p")

	// A robot does not pass for a user of the same name, nor the other way round.
	robot := f.addRobot("bob")
	f.addUser("bob", "p", 10)
	token, _ := f.addToken(RobotToken, robot, someScope, time.Hour)
	id := f.mustLogin("robot+bob", token)
	f.write(func(tx *rows.Tx) error { return tx.DeleteAccount(robot) })
	f.dead("the robot is gone", id)
	f.mustLogin("bob", "p")
}

// Identities that differ in one field are not confused, even with the same credential.
func TestCurrentComparesIdentities(t *testing.T) {
	f := newFixture(t, nil)
	alice, bob := f.addUser("alice", "p", 10), f.addUser("bob", "p", 10)
	secret, _ := f.addToken(PersonalToken, alice, someScope, time.Hour)
	session := f.exchange("job.1")
	byPassword, byToken, bySession := f.mustLogin("alice", "p"), f.mustLogin("alice", secret), f.mustLogin("oidc", session.Secret)
	for _, id := range []auth.Identity{byPassword, byToken, bySession} {
		f.alive("as it was", id)
		for what, change := range map[string]func(id *auth.Identity){
			"name":       func(id *auth.Identity) { id.Name = "bob" },
			"id":         func(id *auth.Identity) { id.ID = fmt.Sprint(bob) },
			"both":       func(id *auth.Identity) { id.Name, id.ID = "bob", fmt.Sprint(bob) },
			"kind":       func(id *auth.Identity) { id.Kind = auth.Robot },
			"credential": func(id *auth.Identity) { id.Credential = "token:99" },
			"number":     func(id *auth.Identity) { id.Credential = "session:x" },
			"word":       func(id *auth.Identity) { id.Credential = "certificate"; id.Kind = auth.User },
		} {
			other := id
			change(&other)
			if what == "both" && id.Credential == "password" {
				continue // that is bob
			}
			f.dead(what+" of "+id.Credential, other)
		}
	}
	stamped := byPassword
	stamped.Stamp = "1"
	f.dead("stamp", stamped)
}

func TestCurrentAnonymous(t *testing.T) {
	f := newFixture(t, nil)
	if id, err := f.is(auth.Identity{Kind: auth.Anonymous}); err != nil || id.Kind != auth.Anonymous {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := f.is(auth.Identity{}); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("nobody: %v", err)
	}
}

// While the version stays the same, Current reads no rows.
func TestCurrentIsRemembered(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.addUser("alice", "p", 10, "team")
	secret, _ := f.addToken(PersonalToken, alice, someScope, time.Hour)
	ids := []auth.Identity{f.mustLogin("alice", "p"), f.mustLogin("alice", secret)}
	v, err := f.Version(f.t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		f.alive("first", id)
	}
	f.db.Close()
	for _, id := range ids {
		if now, err := f.Current(t.Context(), id, v); err != nil || now.Groups[0] != "team" {
			t.Errorf("%s: %+v, %v", id.Credential, now, err)
		}
		if _, err := f.Current(t.Context(), id, v+1); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("%s at another version: %v", id.Credential, err)
		}
	}
}

// L1: neither log nor errors contain a secret, whatever happens to it.
func TestL1NoSecretIsTold(t *testing.T) {
	f := newFixture(t, nil, "filed:"+fakeHash("filed-pass", 10))
	alice := f.addUser("alice", "right-pass", 10)
	f.addUser("filed", "rows-pass", 10)
	token, id := f.addToken(PersonalToken, alice, someScope, time.Hour, "198.51.100.0/24")
	session := f.exchange("secretjob.1")
	secrets := []string{"right-pass", "wrong-pass", "filed-pass", "rows-pass", token, session.Secret, "secretjob.1", "secretjob.wrong", token[:20], fakeHash("right-pass", 10), fakeHash("filed-pass", 10)}
	var told strings.Builder
	for _, name := range []string{"alice", "filed", "nobody", "oidc", "_token", "robot+x"} {
		for _, secret := range append(secrets, strings.Repeat("long-pass", 20)) {
			for range 2 {
				id, err := f.login(name, secret)
				fmt.Fprintf(&told, "%v %+v\n", err, id)
			}
			c := auth.Credentials{Name: name, Secret: secret, From: home}
			fmt.Fprintf(&told, "%v %+v %#v %s\n", c, c, c, c)
			s, err := f.Exchange(t.Context(), secret, home, 0)
			fmt.Fprintf(&told, "%v %v\n", s, err)
			f.advance(10 * refill)
		}
	}
	for _, secret := range secrets {
		_, err := HashPassword(secret+strings.Repeat("x", 80), 10)
		fmt.Fprintln(&told, err)
	}
	row, err := f.other.AuthTokenByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	account, err := f.other.AccountByID(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&told, "%v %+v %#v %v %+v %#v\n", row, row, row, account, account, account)
	f.writeHtpasswd(0, "hunter2-pass\nfiled:"+fakeHash("filed-pass", 10)+"x\n")
	fmt.Fprintln(&told, f.Reload())
	f.db.Close()
	_, err = f.login("alice", token)
	fmt.Fprintln(&told, err)
	text := told.String() + f.log.String()
	for _, secret := range append(secrets, "long-pass", "hunter2") {
		if strings.Contains(text, secret) {
			t.Errorf("%q is told", secret)
		}
	}
}

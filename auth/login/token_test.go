package login

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
)

const someScope = "repository:team/**:pull"

func TestToken(t *testing.T) {
	f := newFixture(t, nil)
	alice, robot := f.addUser("alice", "p", 10, "team"), f.addRobot("deployer")
	personal, personalID := f.addToken(PersonalToken, alice, someScope, time.Hour)
	robots, _ := f.addToken(RobotToken, robot, someScope, time.Hour)
	for _, name := range []string{"alice", "_token"} {
		id := f.mustLogin(name, personal)
		if id.Kind != auth.User || id.Name != "alice" || id.Groups[0] != "team" || id.Scope.String() != someScope || !id.Expires.Equal(f.now().Add(time.Hour)) {
			t.Errorf("as %s: %+v", name, id)
		}
		if want := "token:1"; id.Credential != want || personalID != 1 {
			t.Errorf("the credential is %q, want %q", id.Credential, want)
		}
	}
	for _, name := range []string{"robot+deployer", "_token"} {
		if id := f.mustLogin(name, robots); id.Kind != auth.Robot || id.Subject() != "robot:deployer" {
			t.Errorf("as %s: %+v", name, id)
		}
	}
	if runs := f.spent(); len(runs) != 0 {
		t.Errorf("tokens cost bcrypt runs: %v", runs)
	}
}

// A token is accepted with its owner's user name or with _token, and with no other.
func TestTokenInWrongName(t *testing.T) {
	f := newFixture(t, nil)
	alice, robot := f.addUser("alice", "p", 10), f.addRobot("deployer")
	f.addUser("bob", "p", 10)
	personal, _ := f.addToken(PersonalToken, alice, someScope, time.Hour)
	robots, _ := f.addToken(RobotToken, robot, someScope, time.Hour)
	for _, c := range []struct{ name, secret string }{
		{"bob", personal}, {"Alice", personal}, {"robot+alice", personal}, {"oidc", personal}, {"", personal}, {"nobody", personal},
		{"deployer", robots}, {"robot+other", robots}, {"robot$deployer", robots}, {"oidc", robots}, {"", robots},
	} {
		f.advance(refill) // regains the attempt
		f.refused(c.name, c.secret, auth.ErrCredentials)
	}
}

func TestTokenExpires(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.addUser("alice", "p", 10)
	token, _ := f.addToken(PersonalToken, alice, someScope, time.Hour)
	id := f.mustLogin("alice", token)
	f.advance(time.Hour - 1)
	f.alive("a moment before", id)
	f.mustLogin("alice", token)
	f.advance(1)
	f.over("at its end", id)
	f.refused("alice", token, auth.ErrCredentials)
	f.write(func(tx *rows.Tx) error { return tx.SetDisabled(alice, true) })
	f.dead("at its end, and disabled", id)
}

func TestTokenAddresses(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.addUser("alice", "p", 10)
	token, _ := f.addToken(PersonalToken, alice, someScope, time.Hour, "192.0.2.0/24", "2001:db8::/32")
	for from, good := range map[string]bool{
		"192.0.2.77": true, "::ffff:192.0.2.77": true, "192.0.3.1": false, "2001:db8:1::1": true, "2001:db9::1": false, "fe80::1%eth0": false, "": false,
	} {
		addr, _ := netip.ParseAddr(from) // "" gives the zero Addr
		_, err := f.Login(t.Context(), auth.Credentials{Name: "alice", Secret: token, From: addr})
		if good != (err == nil) || err != nil && !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("from %q: %v", from, err)
		}
	}
}

// S3: a token is bounded by its scope, also in Current, for any owner.
func TestS3TokenKeepsItsScope(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.addUser("alice", "p", 10, "admins")
	token, _ := f.addToken(PersonalToken, alice, someScope, time.Hour)
	id := f.mustLogin("alice", token)
	proved := id
	proved.Scope = nil // as in the grant of a registry token
	for what, now := range map[string]auth.Identity{"login": id, "current": f.alive("current", proved), "again": f.alive("remembered", proved)} {
		if now.Scope == nil || now.Scope.Allows(auth.Push, "team/app") || now.Scope.Allows(auth.Pull, "other/app") || !now.Scope.Allows(auth.Pull, "team/app") {
			t.Errorf("%s: scope %v", what, now.Scope)
		}
	}
}

// A row with a faulty scope gives no rights, rather than all.
func TestTokenWithDamagedScope(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.addUser("alice", "p", 10)
	for _, scope := range []string{"", "everything"} {
		token, _ := f.addToken(PersonalToken, alice, scope, time.Hour)
		f.refused("alice", token, auth.ErrUnavailable)
	}
}

// J5: a token is no password, and the secret of a session no personal token. Hashes in rows are no
// secrets.
func TestJ5SecretsAreOfOneKind(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.addUser("alice", "p", 10)
	token, id := f.addToken(PersonalToken, alice, someScope, time.Hour)
	row, err := f.other.AuthTokenByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	f.refused("alice", string(row.Hash), auth.ErrCredentials)
	// The same characters as another kind, with a valid checksum.
	as := RobotToken.prefix() + token[prefixChars:prefixChars+randomChars]
	f.refused("alice", as+checksum(as), auth.ErrCredentials)
	// A row whose kind is not that of the secret's prefix.
	secret, hash := NewSecret(RobotToken)
	f.write(func(tx *rows.Tx) error {
		_, err := tx.CreateAuthToken(rows.AuthToken{AccountID: alice, Kind: "personal", Hash: hash, Scope: someScope, ExpiresAt: f.now().Add(time.Hour).UnixMicro()})
		return err
	})
	f.refused("alice", secret, auth.ErrCredentials)
	f.refused("_token", secret, auth.ErrCredentials)
}

// The last use of a token is recorded to the hour, and written once an hour.
func TestTokenUse(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.addUser("alice", "p", 10)
	token, id := f.addToken(PersonalToken, alice, someScope, 24*time.Hour)
	used := func(want time.Time) {
		t.Helper()
		row, err := f.other.AuthTokenByID(t.Context(), id)
		if err != nil || row.UsedAt != want.UnixMicro() {
			t.Errorf("used at %v, %v, want %v", time.UnixMicro(row.UsedAt).UTC(), err, want)
		}
	}
	before, err := f.Version(f.t.Context())
	if err != nil {
		t.Fatal(err)
	}
	noon := f.now()
	f.advance(10 * time.Minute)
	f.mustLogin("alice", token)
	used(noon)
	f.advance(time.Hour)
	f.mustLogin("alice", token)
	used(noon.Add(time.Hour))
	f.advance(time.Hour)
	f.refused("bob", token, auth.ErrCredentials) // does not count as a use
	used(noon.Add(time.Hour))
	if after, err := f.Version(f.t.Context()); after != before || err != nil {
		t.Errorf("the use of a token changes the version: %d, %d, %v", before, after, err)
	}
}

// countingRows counts write transactions, and can refuse them.
type countingRows struct {
	*rows.DB
	begun  int
	failed error
}

func newCountingRows(t *testing.T) *countingRows {
	t.Helper()
	c := &countingRows{}
	c.DB = rows.New(dbtest.OpenFaulty(t, dbtest.Memory, func(step string) error {
		if step != "begin" {
			return nil
		}
		c.begun++
		return c.failed
	}))
	return c
}

// A use that could not be recorded is not tried again in the same hour, and does not make a login
// fail.
func TestTokenUseFails(t *testing.T) {
	rows := newCountingRows(t)
	f := newFixture(t, func(o *Options) { o.Rows = rows.DB })
	f.other = rows.DB
	token, _ := f.addToken(PersonalToken, f.addUser("alice", "p", 10), someScope, time.Hour)
	rows.begun, rows.failed = 0, db.ErrNoSpace
	for range 3 {
		f.mustLogin("alice", token)
	}
	if rows.begun != 1 || !strings.Contains(f.log.String(), "not recorded") {
		t.Errorf("%d attempts, and the log says %q", rows.begun, f.log)
	}
}

// A use that another process recorded in the same hour is not recorded again.
func TestTokenUseIsRecordedOnce(t *testing.T) {
	rows := newCountingRows(t)
	var token string
	for range 2 {
		f := newFixture(t, func(o *Options) { o.Rows = rows.DB })
		f.other = rows.DB
		if token == "" {
			token, _ = f.addToken(PersonalToken, f.addUser("alice", "p", 10), someScope, time.Hour)
			rows.begun = 0
		}
		f.mustLogin("alice", token)
		if rows.begun != 1 {
			t.Errorf("%d transactions", rows.begun)
		}
	}
}

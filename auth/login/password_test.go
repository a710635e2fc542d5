package login

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/internal/db"
)

func TestPassword(t *testing.T) {
	f := newFixture(t, nil, "bob:"+fakeHash("bobs", 10)+"\n")
	alice := f.addUser("alice", "alices", 10, "team-a")
	want := auth.Identity{Kind: auth.User, Name: "alice", ID: fmt.Sprint(alice), Groups: []string{"team-a"}, Credential: "password", Stamp: "0"}
	if got := f.mustLogin("alice", "alices"); got.Owner() != want.Owner() || !slices.Equal(got.Groups, want.Groups) || got.Credential != want.Credential || got.Stamp != want.Stamp {
		t.Errorf("alice is %+v", got)
	}
	bob := f.mustLogin("bob", "bobs")
	if bob.Owner() != "user:bob#htpasswd" || bob.Credential != "password" || bob.Stamp == "" || strings.Contains(fakeHash("bobs", 10), bob.Stamp) {
		t.Errorf("bob is %+v", bob)
	}
	f.refused("alice", "bobs", auth.ErrCredentials)
	f.refused("bob", "alices", auth.ErrCredentials)
	f.refused("Alice", "alices", auth.ErrCredentials)
}

// A1: a refused login takes the same work for existing and unknown users, wherever they are stored
// and whatever the cost of their hashes.
func TestA1UnknownUserCostsTheSame(t *testing.T) {
	f := newFixture(t, nil, "low:"+fakeHash("p", 8)+"\nhigh:"+fakeHash("p", 12)+"\n", "second:"+fakeHash("p", 12)+"\n")
	f.addUser("rows", "p", 12)
	f.addUser("rowslow", "p", 10)
	disabled := f.addUser("disabled", "p", 9)
	f.write(func(tx *rows.Tx) error { return tx.SetDisabled(disabled, true) })
	for _, c := range []struct{ name, password string }{
		{"rows", "wrong"}, {"high", "wrong"}, {"second", "wrong"}, {"unknown", "wrong"}, {"unknown2", "p"}, // one run of cost 12
		{"rowslow", "wrong"}, {"low", "wrong"}, {"disabled", "wrong"}, {"disabled", "p"}, // padded to the same work
	} {
		f.advance(time.Hour) // nothing is remembered, and all attempts are regained
		f.refused(c.name, c.password, auth.ErrCredentials)
		runs := f.spent()
		if work(runs) != 1<<12 {
			t.Errorf("%s with %q: runs of costs %v, want the work of one of 12", c.name, c.password, runs)
		}
		if filled := c.name == "rowslow" || c.name == "low" || c.name == "disabled"; !filled && len(runs) != 1 {
			t.Errorf("%s: %d runs", c.name, len(runs))
		}
	}
	f.mustLogin("rowslow", "p")
	if runs := f.spent(); !slices.Equal(runs, []int{10}) {
		t.Errorf("a right password: %v", runs)
	}
}

// If all users have the same cost there is one run of it, for a correct or a wrong password.
// Without users there is one as well.
func TestA1OneRun(t *testing.T) {
	f := newFixture(t, nil)
	f.refused("nobody", "p", auth.ErrCredentials)
	if runs := f.spent(); !slices.Equal(runs, []int{DefaultCost}) {
		t.Errorf("without users: %v", runs)
	}
	f.addUser("alice", "right", 11)
	for _, c := range []struct {
		name, password string
		err            error
	}{{"alice", "wrong", auth.ErrCredentials}, {"nobody", "wrong", auth.ErrCredentials}, {"alice", "right", nil}} {
		if _, err := f.login(c.name, c.password); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if runs := f.spent(); !slices.Equal(runs, []int{11}) {
			t.Errorf("%s %s: %v", c.name, c.password, runs)
		}
	}
}

// A2: no more than BcryptRuns passwords are compared at once. A request that waits too long for a
// slot is told to come back.
func TestA2RunsAreBounded(t *testing.T) { synctest.Test(t, testRunsAreBounded) }

func testRunsAreBounded(t *testing.T) {
	const runs, clients, wait = 3, 500, 2 * time.Second
	f := newFixture(t, func(o *Options) { o.BcryptRuns = runs })
	f.addUser("alice", "right", 10)
	started, release := make(chan struct{}, clients), make(chan struct{})
	f.slow = func(count func()) {
		count()
		started <- struct{}{}
		<-release
	}
	results, began := make(chan error, clients), time.Now()
	for i := range clients {
		go func() {
			from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) // each in another network
			_, err := f.Login(t.Context(), auth.Credentials{Name: "alice", Secret: fmt.Sprint("wrong", i), From: from})
			results <- err
		}()
	}
	for range clients - runs {
		var tooMany *auth.TooManyError
		if err := <-results; !errors.As(err, &tooMany) || tooMany.Wait != wait {
			t.Fatalf("one that waited: %v", err)
		}
	}
	if waited := time.Since(began); waited != wait {
		t.Errorf("waited %v for a slot, want %v", waited, wait)
	}
	if n := len(started); n != runs {
		t.Errorf("%d runs at once, want %d", n, runs)
	}
	close(release)
	for range runs {
		if err := <-results; !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("one that ran: %v", err)
		}
	}
	f.slow = nil
	f.mustLogin("alice", "right")
}

// A request that waited too long for a slot has made no attempt.
func TestWaitingIsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.BcryptRuns = 1 })
		f.addUser("alice", "right", 10)
		f.passwords.slots <- struct{}{} // another request's
		for i := range 2 * burst {
			f.refused("alice", fmt.Sprint("wrong", i), auth.ErrTooMany)
		}
		<-f.passwords.slots
		f.refused("alice", "wrong", auth.ErrCredentials)
	})
}

// The same wrong password from two addresses at once is one run, and counted once.
func TestRunsAreSharedAcrossAddresses(t *testing.T) { synctest.Test(t, testRunsAreShared) }

func testRunsAreShared(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.BcryptRuns = 1 })
	f.addUser("alice", "right", 10)
	release := make(chan struct{})
	f.slow = func(count func()) {
		count()
		<-release
	}
	results := make(chan error, 2)
	login := func(from netip.Addr) {
		_, err := f.Login(t.Context(), auth.Credentials{Name: "alice", Secret: "wrong", From: from})
		results <- err
	}
	left := func(from netip.Addr) float64 {
		f.guard.mu.Lock()
		defer f.guard.mu.Unlock()
		return f.guard.allowanceOf(countedNetwork{auth.ClientNetwork(from), 1}).attempts
	}
	for _, from := range []netip.Addr{home, there} {
		go login(from)
		synctest.Wait() // the first compares, the second waits for its slot
	}
	if left(home) != burst-1 || left(there) != burst-1 {
		t.Errorf("%v and %v attempts left meanwhile", left(home), left(there))
	}
	close(release)
	for range 2 {
		if err := <-results; !errors.Is(err, auth.ErrCredentials) {
			t.Error(err)
		}
	}
	if runs := f.spent(); len(runs) != 1 || left(home) != burst-1 || left(there) != burst {
		t.Errorf("runs %v, %v and %v attempts left", runs, left(home), left(there))
	}
}

// A2: attempts count against their network. The user can log in from elsewhere, and also from there
// with a credential that was verified there before.
func TestA2LockOut(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.addUser("alice", "right", 10)
	f.addUser("bob", "bobs", 10)
	token, _ := f.addToken(PersonalToken, alice, "repository:**:pull", time.Hour)
	f.mustLogin("alice", "right")
	f.spent()
	tooMany := 0
	const tries = burst + maxRefused - 2
	for i := range tries {
		var e *auth.TooManyError
		_, err := f.login("alice", fmt.Sprint("wrong", i))
		switch {
		case errors.As(err, &e):
			tooMany++
			if e.Wait <= 0 || e.Wait > refill {
				t.Errorf("come back after %v", e.Wait)
			}
		case !errors.Is(err, auth.ErrCredentials):
			t.Fatal(err)
		}
	}
	if runs := len(f.spent()); tooMany != tries-burst || runs != burst {
		t.Errorf("%d of %d were too many, %d ran", tooMany, tries, runs)
	}
	f.refused("bob", "bobs", auth.ErrTooMany) // correct, but not verified yet
	f.mustLogin("alice", "right")             // verified before
	f.mustLogin("alice", token)
	if _, err := f.Login(t.Context(), auth.Credentials{Name: "bob", Secret: "bobs", From: there}); err != nil {
		t.Errorf("from another address: %v", err)
	}
	f.refused("bob", "bobs", auth.ErrTooMany) // else one could guess passwords that others use
	f.advance(refill)
	f.mustLogin("bob", "bobs") // whose attempt is refunded
	f.refused("alice", "wrong again", auth.ErrCredentials)
	f.refused("alice", "and again", auth.ErrTooMany)
}

// A2: a network without attempts cannot log in with a password that was verified elsewhere, and
// learns nothing about it.
func TestA2NoGuessingWhileLockedOut(t *testing.T) {
	f := newFixture(t, nil)
	f.addUser("alice", "right", 10)
	for i := range burst {
		f.refused("alice", fmt.Sprint("wrong", i), auth.ErrCredentials)
	}
	elsewhere := auth.Credentials{Name: "alice", Secret: "right", From: there}
	if _, err := f.Login(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	f.spent()
	for range 2 {
		f.refused("alice", "right", auth.ErrTooMany)
		f.refused("alice", "wrong", auth.ErrTooMany)
	}
	f.advance(refill)
	f.mustLogin("alice", "right")
	f.refused("alice", "wrong", auth.ErrCredentials) // the attempt was refunded
	f.refused("alice", "another", auth.ErrTooMany)
	f.mustLogin("alice", "right")
	if runs := f.spent(); len(runs) != 1 {
		t.Errorf("%d runs, want that of the wrong password", len(runs))
	}
	f.advance(goodTTL - refill)
	f.mustLogin("alice", "right")
	if runs := f.spent(); len(runs) != 1 {
		t.Errorf("%d runs once what was found out elsewhere is forgotten, want 1", len(runs))
	}
}

// A2: the same holds for a network from which somebody guesses the password of a user who is there
// too, until it has regained all attempts.
func TestA2NoGuessingBesideItsUser(t *testing.T) {
	f := newFixture(t, nil)
	f.addUser("alice", "right", 10)
	f.mustLogin("alice", "right")
	for i := range burst {
		f.refused("alice", fmt.Sprint("wrong", i), auth.ErrCredentials)
	}
	for i := range maxRefused {
		f.mustLogin("alice", "right")
		f.refused("alice", fmt.Sprint("guess", i), auth.ErrTooMany)
	}
	f.refused("alice", "right", auth.ErrTooMany)
	f.advance(burst*refill - 1)
	f.mustLogin("alice", "right") // takes an attempt and refunds it
	f.refused("alice", "one more", auth.ErrCredentials)
	f.advance((burst + 1) * refill)
	f.mustLogin("alice", "right")
}

// A2: a network where a password was right goes on while others of its /48 guess, until it guesses
// itself.
func TestA2NeighboursGuess(t *testing.T) {
	f := newFixture(t, nil)
	f.addUser("alice", "right", 10)
	own, neighbour := netip.MustParseAddr("2001:db8:0:1::1"), 0
	login := func(password string, want error) {
		t.Helper()
		if _, err := f.Login(t.Context(), auth.Credentials{Name: "alice", Secret: password, From: own}); !errors.Is(err, want) {
			t.Fatalf("%q: %v, want %v", password, err, want)
		}
	}
	othersGuess := func(tries int) {
		for range tries {
			neighbour++
			_ = f.guard.attempt(netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", 256+neighbour*257%60000)))
		}
	}
	login("right", nil)
	othersGuess(20 * (burst + maxRefused))
	login("new here", auth.ErrTooMany)
	for i := range maxRefused - 1 {
		login("right", nil)
		login(fmt.Sprint("guess", i), auth.ErrTooMany)
		f.advance(time.Second) // from now on, as much is regained as others use
		othersGuess(20)
	}
	login("right", auth.ErrTooMany)
}

// A2: a network that was forgotten needs an attempt for a password that was right there.
func TestA2ForgottenNetwork(t *testing.T) {
	f := newFixture(t, nil)
	f.addUser("alice", "right", 10)
	f.mustLogin("alice", "right")
	f.guard.allowances.Purge()
	f.mustLogin("alice", "right")
	f.guard.allowances.Purge()
	if f.guard.presented(f.guard.fingerprint(auth.Credentials{Name: "alice", Secret: "right"}, "presented"), home) {
		t.Error("what was refused is forgotten, and the network needs no attempt")
	}
}

// A3: a wrong password that is repeated is compared and counted once a minute.
func TestA3StalePassword(t *testing.T) {
	f := newFixture(t, nil, "bob:"+fakeHash("bobs", 10))
	f.addUser("alice", "right", 10)
	for name, times := range map[string]int{"alice": 1000, "bob": 100, "nobody": 100} {
		for minute := range 3 {
			for range times {
				f.refused(name, "stale", auth.ErrCredentials)
			}
			if runs := f.spent(); len(runs) != 1 {
				t.Errorf("%s, minute %d: %d runs", name, minute, len(runs))
			}
			f.advance(badTTL)
		}
	}
	for i := range burst { // nine attempts were taken, and are regained
		f.refused("alice", fmt.Sprint("wrong", i), auth.ErrCredentials)
	}
}

// A3: so is one that is repeated while other accounts change. The user's own change makes it count
// again.
func TestA3StalePasswordAfterChanges(t *testing.T) {
	for _, name := range []string{"alice", "disabled", "bob", "nobody"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil, "bob:"+fakeHash("bobs", 10))
			f.addUser("alice", "right", 10)
			disabled := f.addUser("disabled", "stale", 10)
			f.write(func(tx *rows.Tx) error { return tx.SetDisabled(disabled, true) })
			for i := range 10 {
				f.addUser(fmt.Sprint("other", i), "p", 10)
				for range 3 {
					f.refused(name, "stale", auth.ErrCredentials)
				}
				f.advance(badTTL / 11)
			}
			if runs := f.spent(); len(runs) != 1 {
				t.Errorf("%d runs, want 1", len(runs))
			}
			f.advance(badTTL / 11 * 2) // what was recalled is not remembered for longer
			f.refused(name, "stale", auth.ErrCredentials)
			if runs := f.spent(); len(runs) != 1 {
				t.Errorf("%d runs after %v, want 1", len(runs), badTTL)
			}
		})
	}
}

// A3: account changes cost the network of a stale password no attempts.
func TestA3ChangesTakeNoAttempts(t *testing.T) {
	f := newFixture(t, nil)
	f.addUser("alice", "right", 10)
	for i := range 2 * burst {
		f.refused("alice", "stale", auth.ErrCredentials)
		f.refused("nobody", "stale", auth.ErrCredentials)
		f.addUser(fmt.Sprint("other", i), "p", 10)
	}
	for i := range burst - 2 {
		f.refused("alice", fmt.Sprint("wrong", i), auth.ErrCredentials)
	}
	f.refused("alice", "one too many", auth.ErrTooMany)
}

// A password that was wrong is compared again when its user is made, changed or enabled.
func TestWrongPasswordBecomesRight(t *testing.T) {
	f := newFixture(t, nil)
	f.refused("alice", "new", auth.ErrCredentials)
	alice := f.addUser("alice", "old", 10)
	f.refused("alice", "new", auth.ErrCredentials)
	f.write(func(tx *rows.Tx) error { return tx.SetDisabled(alice, true) })
	f.refused("alice", "old", auth.ErrCredentials)
	f.write(func(tx *rows.Tx) error { return tx.SetDisabled(alice, false) })
	f.mustLogin("alice", "old")
	f.write(func(tx *rows.Tx) error { return tx.SetPassword(alice, fakeHash("new", 10), 10) })
	f.mustLogin("alice", "new")
	f.refused("alice", "old", auth.ErrCredentials)
}

// A3: other credentials that are repeated are counted once as well.
func TestA3StaleToken(t *testing.T) {
	f := newFixture(t, nil)
	gone, _ := NewSecret(PersonalToken)
	for _, c := range []auth.Credentials{
		{Name: "alice", Secret: gone}, {Name: "oidc", Secret: "job.wrong"}, {Name: "alice", Secret: gone[:10]},
		{Name: "robot+x", Secret: "password"}, {Name: "alice", Secret: strings.Repeat("x", 73)},
	} {
		for range 100 {
			f.refused(c.Name, c.Secret, auth.ErrCredentials)
		}
	}
	if runs := f.spent(); len(runs) != 0 {
		t.Errorf("runs for what is no password: %v", runs)
	}
	f.addUser("alice", "right", 10)
	for i := range burst - 5 {
		f.refused("alice", fmt.Sprint("wrong", i), auth.ErrCredentials)
	}
	f.refused("alice", "one too many", auth.ErrTooMany)
}

// The concurrent requests of one push share one run.
func TestPasswordsShareRuns(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.BcryptRuns = 100 })
	f.addUser("alice", "right", 10)
	for _, password := range []string{"right", "wrong"} {
		var all sync.WaitGroup
		gathered := make(chan struct{})
		f.slow = func(count func()) {
			<-gathered
			count()
		}
		for range 50 {
			all.Go(func() {
				if _, err := f.login("alice", password); (err == nil) != (password == "right") || errors.Is(err, auth.ErrTooMany) {
					t.Errorf("%s: %v", password, err)
				}
			})
		}
		close(gathered)
		all.Wait()
		if runs := f.spent(); len(runs) != 1 {
			t.Errorf("%s: %d runs", password, len(runs))
		}
	}
}

// A correct password is remembered for five minutes, but not beyond a change of the user.
func TestRightPasswordIsRemembered(t *testing.T) {
	f := newFixture(t, nil)
	id := f.addUser("alice", "right", 10)
	logins := func(password string, want int) {
		t.Helper()
		f.mustLogin("alice", password)
		if runs := f.spent(); len(runs) != want {
			t.Errorf("%d runs, want %d", len(runs), want)
		}
	}
	logins("right", 1)
	f.advance(goodTTL - 1)
	logins("right", 0)
	f.advance(1)
	logins("right", 1)
	f.write(func(tx *rows.Tx) error { return tx.SetPassword(id, fakeHash("new", 10), 10) })
	f.refused("alice", "right", auth.ErrCredentials)
	f.spent()
	logins("new", 1)
	f.write(func(tx *rows.Tx) error { return tx.SetDisabled(id, true) })
	f.refused("alice", "new", auth.ErrCredentials)
	f.spent()
	f.write(func(tx *rows.Tx) error { return tx.SetDisabled(id, false) })
	logins("new", 0)
}

// A wrong password is remembered only for the hash that it was compared with.
func TestWrongPasswordTurnsRight(t *testing.T) {
	f := newFixture(t, nil)
	f.refused("alice", "soon", auth.ErrCredentials)
	id := f.addUser("alice", "other", 10)
	f.refused("alice", "soon", auth.ErrCredentials)
	f.write(func(tx *rows.Tx) error { return tx.SetPassword(id, fakeHash("soon", 10), 10) })
	f.mustLogin("alice", "soon")
}

// A1: the right password of a disabled user is like a wrong one: it costs an attempt and a run,
// also if it was verified before.
func TestA1DisabledUserTellsNothing(t *testing.T) {
	for _, secret := range []string{"right", "wrong"} {
		for _, before := range []bool{false, true} {
			f := newFixture(t, nil)
			id := f.addUser("alice", "right", 10)
			if before {
				f.mustLogin("alice", "right")
			}
			f.write(func(tx *rows.Tx) error { return tx.SetDisabled(id, true) })
			f.spent()
			for i := range burst - 1 {
				f.refused("alice", fmt.Sprint("wrong", i), auth.ErrCredentials)
			}
			f.refused("alice", secret, auth.ErrCredentials)
			if runs := f.spent(); len(runs) != burst {
				t.Errorf("%s, verified before: %v: %d runs, want %d", secret, before, len(runs), burst)
			}
			f.refused("alice", "another", auth.ErrTooMany)
			f.refused("alice", secret, auth.ErrCredentials) // remembered
		}
	}
}

// accountReads is an engine that counts the queries of one account.
type accountReads struct {
	*db.DB
	n atomic.Int64
}

func (a *accountReads) Query(ctx context.Context, query string, args []any, n int) (*db.Rows, error) {
	if strings.Contains(query, "FROM accounts WHERE kind") {
		a.n.Add(1)
	}
	return a.DB.Query(ctx, query, args...)
}

// A1: where no password is compared, no row of the user is read: that would take longer for users
// who exist.
func TestA1NoRowIsRead(t *testing.T) {
	f := newFixture(t, nil)
	f.addUser("alice", "right", 10, "devs")
	counted := &accountReads{DB: f.db}
	f.passwords.rows = rows.New(db.New(counted))
	reads := func() int64 { return counted.n.Swap(0) }
	f.refused("alice", "wrong", auth.ErrCredentials)
	if n := reads(); n == 0 {
		t.Fatal("the read of a row was not counted")
	}
	for range 3 {
		f.refused("alice", "wrong", auth.ErrCredentials) // again
	}
	if n := reads(); n != 0 {
		t.Errorf("%d rows were read for a password that is known to be wrong", n)
	}
	for i := range burst - 1 {
		f.refused("alice", fmt.Sprint("wrong", i), auth.ErrCredentials)
	}
	reads()
	f.refused("alice", "more", auth.ErrTooMany)
	f.refused("alice", "right", auth.ErrTooMany)
	if n := reads(); n != 0 {
		t.Errorf("%d rows were read for a network without attempts", n)
	}
}

// A1: the log has the names that exist, and to find that out takes one row for every name.
func TestA1NamesOfTheLog(t *testing.T) {
	f := newFixture(t, nil, "carol:"+fakeHash("right", 10)+"\n")
	f.addUser("alice", "right", 10, "devs")
	f.addRobot("ci")
	counted := &accountReads{DB: f.db}
	f.rows = rows.New(db.New(counted))
	for name, want := range map[string]bool{
		"alice": true, "carol": true, "robot+ci": true, tokenUserName: true, sessionUserName: true,
		"bob": false, "robot+alice": false, "ci": false, "": false,
	} {
		if got := f.KnowsUserName(t.Context(), name); got != want {
			t.Errorf("%q: %v", name, got)
		}
		if n := counted.n.Swap(0); n != 1 {
			t.Errorf("%q: %d rows were read, want 1", name, n)
		}
	}
}

// A2: a text that cannot be a password or a user name is refused without a run of bcrypt.
func TestA2OddCredentials(t *testing.T) {
	f := newFixture(t, nil)
	f.addUser("alice", strings.Repeat("x", 72), 10)
	f.addUser("bob", "a:b:c", 10)
	for _, c := range []auth.Credentials{
		{Name: "alice", Secret: ""}, {Name: "nobody", Secret: ""},
		{Name: "alice", Secret: strings.Repeat("x", 73)}, {Name: "nobody", Secret: strings.Repeat("x", 73)},
		{Name: "alice", Secret: strings.Repeat("x", 1<<20)}, {Name: strings.Repeat("a", 1<<20), Secret: "x"},
		{Name: "alice", Secret: strings.Repeat("x", 72) + "\x00"}, {Name: "alice", Secret: "x\x00y"},
		{Name: "", Secret: "x"}, {Name: "alice\x00", Secret: "x"}, {Name: "al\xffice", Secret: "x"}, {Name: "alice:x", Secret: "x"},
		{Name: "**", Secret: "x"}, {Name: "user:alice", Secret: "x"}, {Name: "../alice", Secret: "x"}, {Name: "alice\n", Secret: "x"},
	} {
		f.advance(time.Hour)
		f.refused(c.Name, c.Secret, auth.ErrCredentials)
		if runs := f.spent(); len(runs) != 0 {
			t.Errorf("%.20q with %.20q: runs %v", c.Name, c.Secret, runs)
		}
	}
	f.refused("alice", "\xff\xfe", auth.ErrCredentials) // could be a password in another encoding
	f.mustLogin("bob", "a:b:c")
	f.mustLogin("alice", strings.Repeat("x", 72))
}

// N1: no user passes for another kind of identity by any name.
func TestN1KindsAreNotInNames(t *testing.T) {
	f := newFixture(t, nil)
	robot := f.addRobot("deployer")
	f.addUser("deployer", "users", 10)
	token, _ := f.addToken(RobotToken, robot, "repository:**:pull", time.Hour)
	if id := f.mustLogin("deployer", "users"); id.Kind != auth.User {
		t.Errorf("the user is %+v", id)
	}
	if id := f.mustLogin("robot+deployer", token); id.Kind != auth.Robot || id.Name != "deployer" {
		t.Errorf("the robot is %+v", id)
	}
	f.refused("deployer", token, auth.ErrCredentials) // the user's name
	for _, name := range []string{"robot+deployer", "_token", "oidc", "anonymous", "user:deployer"} {
		f.refused(name, "users", auth.ErrCredentials)
	}
}

func TestHashPassword(t *testing.T) {
	hash, err := HashPassword("correct horse", minCost)
	if err != nil || bcrypt.CompareHashAndPassword([]byte(hash), []byte("correct horse")) != nil {
		t.Errorf("%v", err)
	}
	if cost, err := checkHash(hash); cost != minCost || err != nil {
		t.Errorf("its own hash: %d, %v", cost, err)
	}
	token, _ := NewSecret(PersonalToken)
	for _, c := range []struct {
		password string
		cost     int
		want     string
	}{
		{"", 10, "empty"},
		{strings.Repeat("é", 37), 10, "74 bytes: bcrypt takes no more than 72"},
		{"a\x00b", 10, "zero byte"},
		{token, 10, "taken for"},
		{"fine", 7, "8 to 14"},
		{"fine", 15, "8 to 14"},
	} {
		if _, err := HashPassword(c.password, c.cost); err == nil || !strings.Contains(err.Error(), c.want) || c.password != "" && strings.Contains(err.Error(), c.password) {
			t.Errorf("%q at %d: %v", c.password, c.cost, err)
		}
	}
}

// With bcrypt itself: hashes of HashPassword match their passwords only, and bcrypt does run for
// the dummy hash.
func TestBcrypt(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Compare = nil }, "php:$2y$"+mustHash(t, "phps")[4:]+"\n")
	f.write(func(tx *rows.Tx) error {
		_, err := tx.CreateAccount(rows.Account{Kind: "user", Name: "alice", PasswordHash: mustHash(t, "right"), PasswordCost: minCost})
		return err
	})
	f.mustLogin("alice", "right")
	f.mustLogin("php", "phps")
	f.refused("alice", "wrong", auth.ErrCredentials)
	f.refused("php", "wrong", auth.ErrCredentials)
	f.refused("nobody", "right", auth.ErrCredentials)
	if err := compareBcrypt(fmt.Appendf(nil, "$2a$%02d$%s", minCost, strings.Repeat(".", 53)), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("the dummy hash ends bcrypt with %v", err)
	}
}

func mustHash(t *testing.T, password string) string {
	t.Helper()
	hash, err := HashPassword(password, minCost)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// If rows cannot be read, a password is neither accepted nor refused.
func TestUnavailable(t *testing.T) {
	f := newFixture(t, nil)
	user := f.addUser("alice", "right", 10)
	token, _ := f.addToken(PersonalToken, user, "repository:**:pull", time.Hour)
	id, byToken := f.mustLogin("alice", "right"), f.mustLogin("alice", token)
	v, err := f.Version(f.t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.db.Close()
	f.refused("alice", "right", auth.ErrUnavailable)
	f.refused("alice", "wrong", auth.ErrUnavailable)
	f.refused("nobody", "wrong", auth.ErrUnavailable)
	f.refused("alice", token, auth.ErrUnavailable)
	for _, id := range []auth.Identity{id, byToken} {
		if _, err := f.Current(t.Context(), id, v); !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrCredentials) {
			t.Errorf("current %s: %v", id.Credential, err)
		}
	}
	if _, err := f.Version(f.t.Context()); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("version: %v", err)
	}
	if _, err := f.Exchange(t.Context(), "job.1", home, 0); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("exchange: %v", err)
	}
}

package authtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/auth"
)

// Case is a source to test, with credentials for it.
type Case struct {
	Source auth.Source
	Good   auth.Credentials // valid credentials
	Bad    auth.Credentials // invalid credentials of the source's kind
	Other  auth.Credentials // credentials for another source
	Remove func()           // removes what Good depends on: the account, the token, the issuer
}

// TestSource runs the tests that every auth.Source must pass. open returns a new Case for each of
// them.
func TestSource(t *testing.T, open func(t *testing.T) Case) {
	for name, test := range map[string]func(t *testing.T, c Case){
		"good":       testGood,
		"bad":        testBad,
		"altered":    testAltered,
		"other":      testOther,
		"removed":    testRemoved,
		"left":       testClientGone,
		"concurrent": testConcurrent,
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			for _, cred := range []*auth.Credentials{&c.Good, &c.Bad, &c.Other} {
				if !cred.From.IsValid() {
					cred.From = netip.MustParseAddr("192.0.2.7")
				}
			}
			test(t, c)
		})
	}
}

// mustLogIn returns the identity that the good credentials authenticate.
func mustLogIn(t *testing.T, c Case) auth.Identity {
	t.Helper()
	id, err := c.Source.Authenticate(t.Context(), c.Good)
	if err != nil {
		t.Fatalf("good credentials: %v", err)
	}
	return id
}

func testGood(t *testing.T, c Case) {
	id := mustLogIn(t, c)
	switch id.Kind {
	case auth.User, auth.Robot, auth.CI:
	default:
		t.Errorf("kind %q", id.Kind)
	}
	if id.Name == "" || id.ID == "" || id.Credential == "" {
		t.Errorf("an identity has a name, an id and a credential, not %q, %q, %q", id.Name, id.ID, id.Credential)
	}
	if owner := id.Owner(); strings.Count(owner, "#") != 1 || !printable(owner) {
		t.Errorf("owner %q", owner)
	}
	if text := fmt.Sprintf("%+v", id); strings.Contains(text, c.Good.Secret) {
		t.Error("the identity holds the secret")
	}
	if name := c.Source.Name(); name == "" || !printable(name) {
		t.Errorf("the source's name is %q", name)
	}
	if again := mustLogIn(t, c); again.Owner() != id.Owner() {
		t.Errorf("the same credentials are %q, then %q", id.Owner(), again.Owner())
	}
	now, err := c.Source.Current(t.Context(), id)
	if err != nil || now.Owner() != id.Owner() || now.Credential != id.Credential {
		t.Errorf("%q is currently %q, %v", id.Owner(), now.Owner(), err)
	}
}

func testBad(t *testing.T, c Case) {
	for range 2 { // the second answer may come from a cache
		id, err := c.Source.Authenticate(t.Context(), c.Bad)
		checkRefused(t, c.Bad, id, err)
		if !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("bad credentials: %v", err)
		}
	}
	mustLogIn(t, c)
}

// testAltered changes good credentials slightly. A cached result must not be used for the altered
// ones.
func testAltered(t *testing.T, c Case) {
	mustLogIn(t, c)
	secret := c.Good.Secret
	for _, altered := range []string{
		"", " ", secret + "x", secret + "\n", " " + secret, secret + "\x00", "\x00" + secret, secret + secret,
		secret[1:], secret[:len(secret)-1], strings.ToUpper(secret), secret + "\xff", strings.Repeat("a", 1<<20),
	} {
		if altered == secret {
			continue
		}
		cred := c.Good
		cred.Secret = altered
		id, err := c.Source.Authenticate(t.Context(), cred)
		checkRefused(t, cred, id, err)
	}
	nobody := c.Good
	nobody.Name = ""
	if id, err := c.Source.Authenticate(t.Context(), nobody); err == nil {
		t.Errorf("a secret without a name is %q", id.Owner())
	}
}

func testOther(t *testing.T, c Case) {
	id, err := c.Source.Authenticate(t.Context(), c.Other)
	checkRefused(t, c.Other, id, err)
	if !errors.Is(err, auth.ErrNotMine) {
		t.Errorf("credentials for another source: %v", err)
	}
	for _, other := range []auth.Identity{{}, {Kind: auth.Anonymous}, {Kind: "cert", Name: "alice", ID: "1", Credential: "certificate"}} {
		if _, err := c.Source.Current(t.Context(), other); !errors.Is(err, auth.ErrNotMine) {
			t.Errorf("identity %+v of another source: %v", other, err)
		}
	}
}

func testRemoved(t *testing.T, c Case) {
	id := mustLogIn(t, c)
	c.Remove()
	now, err := c.Source.Current(t.Context(), id)
	if !errors.Is(err, auth.ErrCredentials) || now.Owner() != "" {
		t.Errorf("after the removal %q is %q, %v", id.Owner(), now.Owner(), err)
	}
	again, err := c.Source.Authenticate(t.Context(), c.Good)
	checkRefused(t, c.Good, again, err)
}

// testClientGone cancels the request, which must not be reported as wrong credentials.
func testClientGone(t *testing.T, c Case) {
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := c.Source.Authenticate(left, c.Good); errors.Is(err, auth.ErrCredentials) || errors.Is(err, auth.ErrNotMine) {
		t.Errorf("the client left: %v", err)
	}
	mustLogIn(t, c)
}

func testConcurrent(t *testing.T, c Case) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			cred := c.Good
			if i%2 == 1 {
				cred = c.Bad
			}
			id, err := c.Source.Authenticate(t.Context(), cred)
			if good := i%2 == 0; good != (err == nil) {
				t.Errorf("good is %t: %v", good, err)
			}
			if err == nil {
				_, err = c.Source.Current(t.Context(), id)
			}
			if i%2 == 0 && err != nil {
				t.Errorf("current: %v", err)
			}
		})
	}
	all.Wait()
}

// checkRefused checks that credentials were rejected, and that neither the identity nor the error
// reveals anything.
func checkRefused(t *testing.T, c auth.Credentials, id auth.Identity, err error) {
	t.Helper()
	if !errors.Is(err, auth.ErrCredentials) && !errors.Is(err, auth.ErrNotMine) && !errors.Is(err, auth.ErrTooMany) {
		t.Errorf("a secret of %d bytes: %v", len(c.Secret), err)
	}
	if id.Subject() != "" || id.ID != "" || len(id.Claims) > 0 || len(id.Groups) > 0 {
		t.Errorf("a secret of %d bytes was refused, yet gave %+v", len(c.Secret), id)
	}
	if err != nil && len(c.Secret) > 1 && strings.Contains(err.Error(), c.Secret) {
		t.Error("the error holds the secret")
	}
}

// printable reports whether s is one word of printable ASCII.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

package login

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
)

// exchange makes a session, which must succeed.
func (f *fixture) exchange(idToken string) Session {
	f.t.Helper()
	s, err := f.Exchange(context.Background(), idToken, home, 0)
	if err != nil {
		f.t.Fatalf("exchanging %q: %v", idToken, err)
	}
	return s
}

func TestExchange(t *testing.T) {
	f := newFixture(t, nil)
	s := f.exchange("job.1")
	if kind, err := ParseSecret(s.Secret); kind != SessionToken || err != nil {
		t.Errorf("the secret is of kind %q, %v", kind, err)
	}
	if !s.Expires.Equal(f.now().Add(time.Hour)) || !s.Identity.Expires.Equal(s.Expires) {
		t.Errorf("it ends at %v, %v", s.Expires, s.Identity.Expires)
	}
	f.advance(30 * time.Minute) // the id token has expired
	for _, name := range []string{"oidc", "_token"} {
		id := f.mustLogin(name, s.Secret)
		if id.Kind != auth.CI || id.Subject() != "oidc:test/job" || id.ID != "https://ci.test/job" || id.Claims["ref"][0] != "refs/heads/main" ||
			!strings.HasPrefix(id.Credential, "session:") || id.Credential != s.Identity.Credential {
			t.Errorf("as %s: %+v", name, id)
		}
		f.alive("the session", id)
	}
	for _, name := range []string{"job", "", "alice"} {
		f.refused(name, s.Secret, auth.ErrCredentials)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Contains(text, s.Secret) {
		t.Error("the session prints its secret")
	}
}

func TestExchangeLifetime(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.SessionTTL = 2 * time.Hour })
	for i, c := range []struct{ ask, want time.Duration }{
		{0, 2 * time.Hour}, {-1, 2 * time.Hour}, {10 * time.Minute, 10 * time.Minute}, {24 * time.Hour, 2 * time.Hour},
	} {
		s, err := f.Exchange(t.Context(), fmt.Sprint("job.", i), home, c.ask)
		if err != nil || !s.Expires.Equal(f.now().Add(c.want)) {
			t.Errorf("asked for %v: %v, %v", c.ask, s.Expires.Sub(f.now()), err)
		}
	}
	for _, ttl := range []time.Duration{time.Second, 7 * time.Hour, -time.Hour} {
		if _, err := New(t.Context(), Options{SessionTTL: ttl}); err == nil {
			t.Errorf("sessions of %v were taken", ttl)
		}
	}
}

// An id token is exchanged once, also by concurrent requests.
func TestExchangeOnce(t *testing.T) {
	f := newFixture(t, nil)
	var good atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := f.Exchange(context.Background(), "job.1", home, 0)
			if err == nil {
				good.Add(1)
			} else if !errors.Is(err, auth.ErrCredentials) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := good.Load(); n != 1 {
		t.Errorf("%d sessions", n)
	}
	f.exchange("job.2")
	f.advance(time.Hour)
	f.exchange("job.3") // removes expired rows, but no id token that could still be replayed
	if _, err := f.Exchange(t.Context(), "job.1", home, 0); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("again: %v", err)
	}
}

func TestExchangeRefuses(t *testing.T) {
	f := newFixture(t, nil)
	if _, err := f.Exchange(t.Context(), "job.wrong", home, 0); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("a wrong token: %v", err)
	}
	if _, err := f.Exchange(t.Context(), "job."+strings.Repeat("1", 1<<20), home, 0); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("1 MiB: %v", err)
	}
	for i := range burst {
		f.Exchange(t.Context(), fmt.Sprint("job.wrong", i), home, 0)
	}
	if _, err := f.Exchange(t.Context(), "job.wronger", home, 0); !errors.Is(err, auth.ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	f.exchange("job.1") // a good one is accepted
	f.ci.down = true
	if _, err := f.Exchange(t.Context(), "job.2", home, 0); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("the issuer is down: %v", err)
	}
	f.refused("oidc", "job.2", auth.ErrUnavailable)

	none := newFixture(t, func(o *Options) { o.CI, o.CITokens = nil, nil })
	if _, err := none.Exchange(t.Context(), "job.1", home, 0); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("without issuers: %v", err)
	}
	none.refused("oidc", "job.1", auth.ErrCredentials)
}

// A4: a session ends when it is revoked, when it expires, and when its issuer no longer vouches for
// the job.
func TestA4SessionEnds(t *testing.T) {
	f := newFixture(t, nil)
	ended, over, removed := f.exchange("ended.1"), f.exchange("over.2"), f.exchange("removed.3")
	ids := make(map[string]auth.Identity)
	for name, s := range map[string]Session{"ended": ended, "over": over, "removed": removed} {
		ids[name] = f.mustLogin("oidc", s.Secret)
		f.alive("all well", ids[name])
	}
	row, err := f.other.AuthTokenByHash(t.Context(), hashSecret(ended.Secret))
	if err != nil {
		t.Fatal(err)
	}
	f.write(func(tx *rows.Tx) error { return tx.DeleteAuthToken(row.ID) })
	f.dead("ended", ids["ended"])
	f.refused("oidc", ended.Secret, auth.ErrCredentials)
	f.ci.remove("removed")
	f.dead("not vouched for", ids["removed"])
	f.refused("oidc", removed.Secret, auth.ErrCredentials)
	f.alive("the third", ids["over"])
	f.advance(time.Hour)
	f.over("over", ids["over"])
	f.refused("oidc", over.Secret, auth.ErrCredentials)
	f.ci.remove("over")
	f.dead("over, and not vouched for", ids["over"])
}

// A new session removes expired ones.
func TestExchangeForgets(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 5 {
		f.exchange(fmt.Sprint("job.", i))
	}
	f.advance(time.Hour + time.Second)
	f.exchange("job.new")
	if rows, err := f.other.AuthTokens(t.Context(), 0, 100); len(rows) != 1 || err != nil {
		t.Errorf("%d sessions are left, %v", len(rows), err)
	}
}

package login

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/oidc"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
)

var (
	home  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("198.51.100.1")
)

// fixture is a Service with a clock that stands still and a counter of bcrypt runs. A second handle
// on the database makes changes as another process would.
type fixture struct {
	*Service
	t     *testing.T
	db    *db.DB // the service's
	other *rows.DB
	dir   string // for htpasswd files
	ci    *ci
	log   *syncBuffer

	mu   sync.Mutex
	time time.Time
	runs []int        // costs of the comparisons
	slow func(func()) // if set, called with the function that counts the run
}

// newFixture makes a fixture. Each file is the text of an htpasswd file.
func newFixture(t *testing.T, change func(o *Options), files ...string) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), ci: &ci{}, log: &syncBuffer{}, time: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	url := "sqlite:" + filepath.Join(t.TempDir(), "berth.db")
	f.db = dbtest.Open(t, url)
	o := Options{
		Rows: rows.New(f.db), CI: f.ci, CITokens: f.ci, Now: f.now, Compare: f.compare, BcryptRuns: 2,
		Log: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	f.other = rows.New(dbtest.Open(t, url))
	for i, text := range files {
		o.Htpasswd = append(o.Htpasswd, f.writeHtpasswd(i, text))
	}
	if change != nil {
		change(&o)
	}
	var err error
	if f.Service, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return f
}

// writeHtpasswd replaces htpasswd file i.
func (f *fixture) writeHtpasswd(i int, text string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, fmt.Sprint("users", i))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time = f.time.Add(d)
}

// fakeHash returns a text in the form of a bcrypt hash with this cost, which is cheap to compute.
func fakeHash(password string, cost int) string {
	return fmt.Sprintf("$2a$%02d$%x", cost, sha256.Sum256([]byte(password)))[:60]
}

// compare compares with a fakeHash, and records the cost that bcrypt would have had.
func (f *fixture) compare(hash, password []byte) error {
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		f.t.Errorf("a hash without a cost was compared: %v", err)
	}
	count := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.runs = append(f.runs, cost)
	}
	if f.slow != nil {
		f.slow(count)
	} else {
		count()
	}
	if string(hash) != fakeHash(string(password), cost) {
		return bcrypt.ErrMismatchedHashAndPassword
	}
	return nil
}

// spent returns the costs of the runs since it was last called.
func (f *fixture) spent() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	runs := f.runs
	f.runs = nil
	return runs
}

// work returns the work of runs with these costs; a run of cost 0 is 1.
func work(costs []int) (sum int) {
	for _, cost := range costs {
		sum += 1 << cost
	}
	return sum
}

// write changes rows as another process would.
func (f *fixture) write(change func(tx *rows.Tx) error) {
	f.t.Helper()
	if err := f.other.Tx(context.Background(), change); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) addUser(name, password string, cost int, groups ...string) (id int64) {
	f.t.Helper()
	f.write(func(tx *rows.Tx) (err error) {
		id, err = tx.CreateAccount(rows.Account{Kind: "user", Name: name, PasswordHash: fakeHash(password, cost), PasswordCost: cost, Groups: groups, CreatedAt: 1})
		return err
	})
	return id
}

func (f *fixture) addRobot(name string) (id int64) {
	f.t.Helper()
	f.write(func(tx *rows.Tx) (err error) {
		id, err = tx.CreateAccount(rows.Account{Kind: "robot", Name: name, CreatedAt: 1})
		return err
	})
	return id
}

// addToken adds a token to an account and returns its secret.
func (f *fixture) addToken(kind TokenKind, account int64, scope string, ttl time.Duration, cidrs ...string) (secret string, id int64) {
	f.t.Helper()
	secret, hash := NewSecret(kind)
	f.write(func(tx *rows.Tx) (err error) {
		id, err = tx.CreateAuthToken(rows.AuthToken{
			AccountID: account, Kind: string(kind), Hash: hash, Scope: scope, CIDRs: cidrs,
			CreatedAt: f.now().UnixMicro(), ExpiresAt: f.now().Add(ttl).UnixMicro(),
		})
		return err
	})
	return secret, id
}

// login logs in from home.
func (f *fixture) login(name, secret string) (auth.Identity, error) {
	return f.Login(context.Background(), auth.Credentials{Name: name, Secret: secret, From: home})
}

// mustLogin logs in from home, which must succeed.
func (f *fixture) mustLogin(name, secret string) auth.Identity {
	f.t.Helper()
	id, err := f.login(name, secret)
	if err != nil {
		f.t.Fatalf("%q cannot log in: %v", name, err)
	}
	return id
}

// refused checks that a login fails with this error, and without an identity.
func (f *fixture) refused(name, secret string, want error) {
	f.t.Helper()
	id, err := f.login(name, secret)
	if !errors.Is(err, want) {
		f.t.Errorf("%q: %v, want %v", name, err, want)
	}
	if id.Subject() != "" || id.ID != "" {
		f.t.Errorf("%q was refused and is %+v", name, id)
	}
}

// is returns the current state of an identity.
func (f *fixture) is(id auth.Identity) (auth.Identity, error) {
	f.t.Helper()
	v, err := f.Version(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return f.Current(context.Background(), id, v)
}

// dead checks that an identity is no longer valid.
func (f *fixture) dead(what string, id auth.Identity) {
	f.t.Helper()
	if now, err := f.is(id); !errors.Is(err, auth.ErrCredentials) || now.Subject() != "" {
		f.t.Errorf("%s: %s is %+v, %v", what, id.Owner(), now, err)
	}
}

// over checks that an identity's credential has expired and is otherwise valid.
func (f *fixture) over(what string, id auth.Identity) {
	f.t.Helper()
	if now, err := f.is(id); !errors.Is(err, auth.ErrExpired) || !errors.Is(err, auth.ErrCredentials) || now.Owner() != id.Owner() {
		f.t.Errorf("%s: %s is %+v, %v", what, id.Owner(), now, err)
	}
}

// alive checks that an identity is still valid, and returns its current state.
func (f *fixture) alive(what string, id auth.Identity) auth.Identity {
	f.t.Helper()
	now, err := f.is(id)
	if err != nil || now.Owner() != id.Owner() || now.Credential != id.Credential {
		f.t.Errorf("%s: %s is %+v, %v", what, id.Owner(), now, err)
	}
	return now
}

// ci is a fake for auth/oidc. The id token "job.1.x" belongs to the job "job", which is valid until
// it is removed.
type ci struct {
	mu      sync.Mutex
	removed []string
	down    bool
}

func (c *ci) Name() string { return "oidc" }

func (c *ci) Verify(_ context.Context, idToken string) (oidc.IDToken, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	job, number, ok := strings.Cut(idToken, ".")
	switch {
	case c.down:
		return oidc.IDToken{}, fmt.Errorf("%w: connection refused", auth.ErrUnavailable)
	case !ok || slices.Contains(c.removed, job) || strings.HasPrefix(number, "wrong"):
		return oidc.IDToken{}, auth.ErrCredentials
	}
	expires := time.Date(2026, 11, 21, 12, 5, 0, 0, time.UTC)
	id := auth.Identity{
		Kind: auth.CI, Name: job, ID: "https://ci.test/" + job, Issuer: "test", Claims: map[string][]string{"ref": {"refs/heads/main"}},
		Credential: "id_token", Expires: expires,
	}
	return oidc.IDToken{Identity: id, ID: number, Expires: expires}, nil
}

func (c *ci) Authenticate(ctx context.Context, cred auth.Credentials) (auth.Identity, error) {
	if cred.Name != "oidc" || !strings.Contains(cred.Secret, ".") {
		return auth.Identity{}, auth.ErrNotMine
	}
	t, err := c.Verify(ctx, cred.Secret)
	return t.Identity, err
}

func (c *ci) Current(_ context.Context, id auth.Identity) (auth.Identity, error) {
	if id.Kind != auth.CI {
		return auth.Identity{}, auth.ErrNotMine
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.removed, id.Name) {
		return auth.Identity{}, auth.ErrCredentials
	}
	return id, nil
}

func (c *ci) remove(job string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = append(c.removed, job)
}

// syncBuffer is a buffer for a log, safe for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

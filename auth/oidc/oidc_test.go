package oidc

import (
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/authtest"
)

const audience = "https://registry.example"

// world is a provider, a source that trusts it, and their common clock.
type world struct {
	*authtest.Provider
	source *Source
	log    *strings.Builder

	mu      sync.Mutex
	now     time.Time
	issuers []auth.Issuer
}

// newWorld has one issuer, "ci", whose identities are named by their sub.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Provider: authtest.NewProvider(t), now: time.Unix(1_800_000_000, 0), log: new(strings.Builder)}
	w.Provider.Now = w.time
	w.issuers = []auth.Issuer{w.Issuer("ci", "{claims.sub}", audience)}
	w.source = New(Options{Issuers: w.configured, Now: w.time, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	return w
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) configured() []auth.Issuer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.issuers
}

func (w *world) configure(issuers ...auth.Issuer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.issuers = issuers
}

// job returns the claims of a token that the world accepts, with changes.
func job(changes map[string]any) map[string]any {
	claims := map[string]any{"aud": audience, "sub": "job-1"}
	maps.Copy(claims, changes)
	return claims
}

// mustVerify fails the test unless the token is accepted.
func (w *world) mustVerify(t *testing.T, token string) IDToken {
	t.Helper()
	got, err := w.source.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// mustRefuse fails the test unless the token is rejected with an error of the given kind, whose
// text contains the reason.
func (w *world) mustRefuse(t *testing.T, token string, kind error, reason string) {
	t.Helper()
	got, err := w.source.Verify(t.Context(), token)
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), reason) {
		t.Errorf("%v, expected %v for the reason %q", err, kind, reason)
	}
	if got.Identity.Kind != "" || got.ID != "" {
		t.Errorf("refused, yet gave %+v", got)
	}
}

func TestSource(t *testing.T) {
	authtest.TestSource(t, func(t *testing.T) authtest.Case {
		w := newWorld(t)
		return authtest.Case{
			Source: w.source,
			Good:   auth.Credentials{Name: "oidc", Secret: w.Sign(job(nil))},
			Bad:    auth.Credentials{Name: "oidc", Secret: w.Sign(job(map[string]any{"aud": "https://elsewhere.example"}))},
			Other:  auth.Credentials{Name: "alice", Secret: w.Sign(job(nil))},
			Remove: func() { w.configure() },
		}
	})
}

func TestSecretsThatAreNoToken(t *testing.T) {
	w := newWorld(t)
	_, err := w.source.Authenticate(t.Context(), auth.Credentials{Name: "oidc", Secret: "bertht_0123456789"})
	if !errors.Is(err, auth.ErrNotMine) {
		t.Errorf("what is no id_token: %v", err)
	}
}

func TestGitHub(t *testing.T) {
	w := newWorld(t)
	w.RotateRSA()
	issuer := w.Issuer("github", "{claims.repository}", audience)
	issuer.Match = map[string][]string{"repository_owner_id": {"1234567"}, "ref": {"refs/heads/main", "refs/tags/v*"}}
	w.configure(issuer)
	claims := authtest.GitHubClaims(audience)
	claims["jti"] = "example-id"

	got := w.mustVerify(t, w.Sign(claims))
	id := got.Identity
	if id.Subject() != "oidc:github/acme/app" || id.Kind != auth.CI || id.Credential != "id_token" || id.Scope != nil {
		t.Errorf("identity %+v", id)
	}
	if got.ID != "example-id" || !got.Expires.Equal(w.time().Add(authtest.TokenTTL)) || !id.Expires.Equal(got.Expires) {
		t.Errorf("id %q, expires %s", got.ID, got.Expires)
	}
	for name, want := range claims {
		v, there := id.Claims[name]
		if ofJob := name != "aud" && name != "jti"; there != ofJob || ofJob && (len(v) != 1 || v[0] != want) {
			t.Errorf("claim %s is %q, not %q", name, v, want)
		}
	}
	if len(id.Claims) != len(claims)-2 {
		t.Errorf("%d claims of %d", len(id.Claims), len(claims))
	}

	claims["repository_owner_id"] = "7654321" // another owner that is called acme
	w.mustRefuse(t, w.Sign(claims), auth.ErrCredentials, "not what issuer github must have")
	delete(claims, "repository_owner_id")
	w.mustRefuse(t, w.Sign(claims), auth.ErrCredentials, "not what issuer github must have")
}

func TestGitLab(t *testing.T) {
	w := newWorld(t)
	w.RotateRSA()
	issuer := w.Issuer("gitlab", "{claims.project_path}", audience)
	issuer.Match = map[string][]string{"namespace_id": {"72"}, "ref_protected": {"true"}, "groups_direct": {"acme/*"}}
	w.configure(issuer)

	id := w.mustVerify(t, w.Sign(authtest.GitLabClaims(audience))).Identity
	if id.Subject() != "oidc:gitlab/acme/app" {
		t.Errorf("identity %+v", id)
	}
	if got := id.Claims["runner_id"]; len(got) != 1 || got[0] != "9007199254740993" {
		t.Errorf("runner_id %q is not the digits that were sent", got)
	}
	if got := id.Claims["groups_direct"]; len(got) != 2 || got[1] != "acme/platform" {
		t.Errorf("groups_direct %q", got)
	}
	if got, there := id.Claims["user_identities"]; there {
		t.Errorf("user_identities, which has parts of its own, is %q", got)
	}
}

// TestRefusedWithoutFetching sends tokens that are rejected for their claims, without a request to
// the issuer.
func TestRefusedWithoutFetching(t *testing.T) {
	w := newWorld(t)
	at := func(d time.Duration) int64 { return w.time().Add(d).Unix() }
	for name, c := range map[string]struct {
		changes map[string]any
		reason  string
	}{
		"other issuer":         {map[string]any{"iss": "https://evil.example"}, `issuer "https://evil.example" is not configured`},
		"issuer and a slash":   {map[string]any{"iss": w.URL + "/"}, "is not configured"},
		"no issuer":            {map[string]any{"iss": nil}, "claim iss must be a text"},
		"two issuers":          {map[string]any{"iss": []string{w.URL}}, "claim iss must be a text"},
		"other audience":       {map[string]any{"aud": "https://github.com/acme"}, `audiences ["https://github.com/acme"], expected one of ["https://registry.example"]`},
		"no audience":          {map[string]any{"aud": nil}, "expected one of"},
		"empty audience":       {map[string]any{"aud": ""}, "expected one of"},
		"audience of parts":    {map[string]any{"aud": []any{audience, map[string]any{}}}, "expected one of"},
		"expired":              {map[string]any{"exp": at(0)}, "expired 0s ago"},
		"long expired":         {map[string]any{"exp": at(-time.Hour)}, "expired 1h0m0s ago"},
		"no expiry":            {map[string]any{"exp": nil}, "claim exp must be a time"},
		"expiry as text":       {map[string]any{"exp": "2000000000"}, "claim exp must be a time"},
		"expiry beyond time":   {map[string]any{"exp": 1e300}, "claim exp must be a time"},
		"not yet":              {map[string]any{"nbf": at(2 * time.Minute)}, "claim nbf is 2m0s from now"},
		"nbf as text":          {map[string]any{"nbf": "soon"}, "claim nbf must be a time"},
		"issued in the future": {map[string]any{"iat": at(2 * time.Minute)}, "claim iat is 2m0s from now"},
		"never issued":         {map[string]any{"iat": nil}, "claim iat must be a time"},
	} {
		t.Run(name, func(t *testing.T) {
			w.mustRefuse(t, w.Sign(job(c.changes)), auth.ErrCredentials, c.reason)
		})
	}
	none := w.configured()[0]
	none.Audiences = nil
	w.configure(none)
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrCredentials, "expected one of")
	none.Audiences = []string{""}
	w.configure(none)
	w.mustRefuse(t, w.Sign(job(map[string]any{"aud": ""})), auth.ErrCredentials, "expected one of")
	if n := w.TotalRequests(); n != 0 {
		t.Errorf("the provider had %d requests", n)
	}
}

func TestUnusualButValid(t *testing.T) {
	w := newWorld(t)
	for name, changes := range map[string]map[string]any{
		"several audiences":    {"aud": []string{"https://elsewhere.example", audience}},
		"no nbf":               {"nbf": nil},
		"a fast clock":         {"iat": w.time().Add(50 * time.Second).Unix(), "nbf": w.time().Add(50 * time.Second).Unix()},
		"fractions of seconds": {"iat": float64(w.time().Unix()) + 0.5},
	} {
		t.Run(name, func(t *testing.T) { w.mustVerify(t, w.Sign(job(changes))) })
	}
}

// TestRefusedByContent sends correctly signed tokens from which no identity can be made.
func TestRefusedByContent(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		changes map[string]any
		reason  string
	}{
		"no subject":       {map[string]any{"sub": nil}, "claim sub must be a text"},
		"subject a number": {map[string]any{"sub": 1}, "sub"},
		"name with #":      {map[string]any{"sub": "a#17"}, "printable ASCII"},
		"name of lines":    {map[string]any{"sub": "a\nlevel=ERROR"}, "printable ASCII"},
		"name of words":    {map[string]any{"sub": "a b"}, "printable ASCII"},
		"name in Cyrillic": {map[string]any{"sub": "\u0430cme"}, "printable ASCII"},
		"endless name":     {map[string]any{"sub": strings.Repeat("a", maxName+1)}, "256 bytes"},
		"many claims":      {map[string]any{"x": strings.Repeat("a", maxClaims)}, "bytes of claims"},
		"many in a list":   {map[string]any{"x": strings.Split(strings.Repeat("abc,", maxClaims/3), ",")}, "bytes"},
		"too long":         {map[string]any{"x": map[string]any{"y": strings.Repeat("a", maxToken)}}, "more than 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			w.mustRefuse(t, w.Sign(job(c.changes)), auth.ErrCredentials, c.reason)
		})
	}
}

// TestTokenID checks the ID that lets each token be exchanged only once.
func TestTokenID(t *testing.T) {
	w := newWorld(t)
	one, two := w.mustVerify(t, w.Sign(job(nil))), w.mustVerify(t, w.Sign(job(nil)))
	if one.ID == "" || one.ID == two.ID {
		t.Errorf("two tokens have the ids %q and %q", one.ID, two.ID)
	}
	// Without a jti the signed payload counts. The ECDSA signature differs each time.
	bare := job(map[string]any{"jti": nil})
	one, two = w.mustVerify(t, w.Sign(bare)), w.mustVerify(t, w.Sign(bare))
	if one.ID == "" || one.ID != two.ID {
		t.Errorf("one token has the ids %q and %q", one.ID, two.ID)
	}
	w.advance(time.Second)
	if later := w.mustVerify(t, w.Sign(bare)); later.ID == one.ID {
		t.Errorf("a token of another second has the id %q too", one.ID)
	}
	long := w.mustVerify(t, w.Sign(job(map[string]any{"jti": strings.Repeat("j", maxID+1)})))
	if len(long.ID) > maxID {
		t.Errorf("an id of %d bytes", len(long.ID))
	}
}

func TestIdentityID(t *testing.T) {
	w := newWorld(t)
	issuer := w.configured()[0]
	issuer.Identity = "everyone"
	w.configure(issuer)
	owner := func(sub string) string {
		return w.mustVerify(t, w.Sign(job(map[string]any{"sub": sub}))).Identity.Owner()
	}
	if first, again := owner("a"), owner("a"); first != again || first == owner("b") {
		t.Error("an owner is not as its issuer and subject")
	}
	if got := owner("environment:Größe #1"); strings.Count(got, "#") != 1 || strings.ContainsFunc(got, func(r rune) bool { return r > '~' }) {
		t.Errorf("owner %q", got)
	}
}

func TestCurrent(t *testing.T) {
	w := newWorld(t)
	id := w.mustVerify(t, w.Sign(job(map[string]any{"ref": "main"}))).Identity
	check := func(when string, id auth.Identity, want error) {
		t.Helper()
		if now, err := w.source.Current(t.Context(), id); !errors.Is(err, want) || err == nil && now.Owner() != id.Owner() {
			t.Errorf("%s: %q, %v, expected %v", when, now.Owner(), err, want)
		}
	}
	issuer := w.configured()[0]
	issuer.Match = map[string][]string{"ref": {"main"}}
	w.configure(issuer)
	check("matching", id, nil)
	issuer.Match = map[string][]string{"ref": {"release"}}
	w.configure(issuer)
	check("the issuer must have another ref", id, auth.ErrCredentials)
	issuer.Match = nil
	w.configure(issuer)
	w.advance(authtest.TokenTTL - time.Second)
	check("a second before its end", id, nil)
	w.advance(time.Second)
	check("at its end", id, auth.ErrCredentials)
	id.Expires = time.Time{}
	check("where the end is not known", id, nil)
	other := issuer
	other.URL += "/other"
	w.configure(other)
	check("another issuer has the name", id, auth.ErrCredentials)
	w.configure(issuer)
	delete(id.Claims, "sub")
	check("without a subject", id, auth.ErrCredentials)
	if w.TotalRequests() != 2 {
		t.Error("an issuer was asked for what an identity is now")
	}
}

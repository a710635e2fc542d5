package token

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
)

// TestSignAndVerify: Verify returns the identity and the access that were signed.
func TestSignAndVerify(t *testing.T) {
	w := newWorld(t)
	for _, id := range []auth.Identity{
		alice,
		{Kind: auth.Robot, Name: "deployer", ID: "18", Credential: "token:12", Stamp: "0"},
		{Kind: auth.CI, Name: "acme/app", ID: "github repo:acme/app:ref:x", Issuer: "github", Credential: "id_token",
			Claims: map[string][]string{"Ref": {"refs/heads/main"}, "ref": {"a", "b"}}},
		{Kind: auth.Anonymous},
	} {
		access := []auth.Access{{Type: "repository", Name: "team/app", Actions: []string{"pull", "push"}}, {Type: "registry", Name: "catalog", Actions: []string{"*"}}}
		s := w.token(id, access...)
		g := w.want(s.Text, nil)
		if !reflect.DeepEqual(g.Identity, id) || !reflect.DeepEqual(g.Access, access) || g.ID != s.ID || !g.Expires.Equal(s.Expires) {
			t.Errorf("%s: %+v", id.Subject(), g)
		}
		if again := w.want(s.Text, nil); !reflect.DeepEqual(again, g) {
			t.Errorf("%s: remembered as %+v", id.Subject(), again)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", s, s, s), s.Text) {
			t.Error("a signed token prints its text")
		}
	}
}

// TestTokenForm checks the form of a token, which other verifiers accept.
func TestTokenForm(t *testing.T) {
	w := newWorld(t)
	head, body := w.model()
	if want := (parts{"alg": "ES256", "typ": "JWT", "kid": w.signer().kid}); !reflect.DeepEqual(head, want) {
		t.Errorf("header %v", head)
	}
	names := []string{}
	for name := range body {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"access", "aud", "exp", "iat", "id", "iss", "jti", "nbf", "sub"}; !slices.Equal(names, want) {
		t.Errorf("claims %v", names)
	}
	now := w.Now().Unix()
	for name, want := range map[string]any{
		"iss": "https://r.test", "aud": "r.test", "sub": "user:alice",
		"iat": fmt.Sprint(now), "nbf": fmt.Sprint(now - 10), "exp": fmt.Sprint(now + 300),
		"access": []any{map[string]any{"type": "repository", "name": "team/app", "actions": []any{"pull"}}},
		"id":     map[string]any{"k": "user", "n": "alice", "i": "17", "c": "password", "s": "3", "g": []any{"team-a", "staff"}},
	} {
		got := body[name]
		if number, ok := got.(fmt.Stringer); ok {
			got = number.String()
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if id, ok := body["jti"].(string); !ok || len(id) < 26 { // 128 bits in base32
		t.Errorf("jti %v", body["jti"])
	}
	_, anonymous := parts(nil), w.token(auth.Identity{Kind: auth.Anonymous})
	text, err := decode(strings.Split(anonymous.Text, ".")[1])
	w.must(err)
	if !strings.Contains(text, `"sub":""`) || !strings.Contains(text, `"access":[]`) {
		t.Errorf("an anonymous token without access: %s", text)
	}
	if other := w.token(alice); other.ID == anonymous.ID {
		t.Error("two tokens have one jti")
	}
}

func TestSignedLifetime(t *testing.T) {
	w := newWorld(t)
	w.advance(700 * time.Millisecond)
	second := w.Now().Truncate(time.Second)
	ends := func(d time.Duration) auth.Identity {
		id := alice
		id.Expires = second.Add(d)
		return id
	}
	for _, c := range []struct {
		id   auth.Identity
		want time.Duration
	}{
		{alice, 5 * time.Minute}, {ends(time.Hour), 5 * time.Minute}, {ends(2 * time.Minute), 2 * time.Minute},
		{ends(3*time.Second + 900*time.Millisecond), 3 * time.Second},
	} {
		if s := w.token(c.id); s.Lifetime != c.want || !s.Expires.Equal(second.Add(c.want)) {
			t.Errorf("a credential until %v: %v, %v", c.id.Expires, s.Lifetime, s.Expires)
		}
	}
	for _, d := range []time.Duration{0, 500 * time.Millisecond, -time.Hour} {
		if _, err := w.Sign(w.t.Context(), ends(d), nil); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("a credential that ends after %v: %v", d, err)
		}
	}
}

func TestSignTooLarge(t *testing.T) {
	w := newWorld(t)
	var access []auth.Access
	for i := range auth.MaxScopes {
		access = append(access, pull(fmt.Sprintf("%s/%d", strings.Repeat("x", 200), i)))
	}
	if _, err := w.Sign(w.t.Context(), alice, access); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d scopes: %v", len(access), err)
	}
	s := w.token(alice, access[:40]...)
	if len(s.Text) <= maxCachedSize {
		t.Fatalf("%d bytes are not many", len(s.Text))
	}
	w.want(s.Text, nil)
	if n := w.cache.Len(); n != 0 {
		t.Errorf("a long token is remembered")
	}
}

func TestOpenRefuses(t *testing.T) {
	db := openDB(t, "sqlite::memory:")
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Issuer = "" }, "issuer"},
		{func(o *Options) { o.Service = "" }, "service"},
		{func(o *Options) { o.TTL = 59 * time.Second }, "between 1m and 1h"},
		{func(o *Options) { o.TTL = time.Hour + time.Second }, "between 1m and 1h"},
		{func(o *Options) { o.TTL = 90*time.Second + time.Millisecond }, "whole seconds"},
		{func(o *Options) { o.UploadGrace = -1 }, "between 0s and 24h"},
		{func(o *Options) { o.UploadGrace = 24*time.Hour + 1 }, "between 0s and 24h"},
		{func(o *Options) { o.RotateAfter = time.Hour }, "1h5m0s before"},
		{func(o *Options) { o.Rows = nil }, "database or a file"},
		{func(o *Options) { o.KeyFile = "absent" }, "absent"},
	} {
		o := Options{Rows: db, Issuer: "i", Service: "s", TTL: 5 * time.Minute}
		c.change(&o)
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v does not say %q", err, c.want)
		}
	}
}

package main

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth/login"
)

func TestTokenCreate(t *testing.T) {
	t.Parallel()
	o := cli{t, newData(t)}
	o.ok("password", "user", "add", "alice", "--password-stdin")
	var got struct {
		tokenInfo
		Token string
	}
	o.into(&got, "", "token", "create", "--owner", "alice", "--name", "laptop", "--scope", "repository:a/**:pull", "--scope", "registry:catalog:*",
		"--expires", "2d", "--cidr", "10.20.0.0/16", "--cidr", "::1")
	if kind, err := login.ParseSecret(got.Token); kind != login.PersonalToken || err != nil {
		t.Errorf("the token is of kind %q, %v", kind, err)
	}
	if lifetime := got.Expires.Sub(got.Created); lifetime != 48*time.Hour {
		t.Errorf("it is good for %v", lifetime)
	}
	got.Created, got.Expires = time.Time{}, time.Time{}
	want := tokenInfo{ID: 1, Kind: "personal", Owner: "alice", Name: "laptop", Scope: "repository:a/**:pull registry:catalog:*", CIDRs: []string{"10.20.0.0/16", "::1/128"}}
	if !reflect.DeepEqual(got.tokenInfo, want) {
		t.Errorf("got %+v, want %+v", got.tokenInfo, want)
	}

	// Standard output has only the token, for a pipe. The description is on standard error.
	r := o.run("", "token", "create", "--owner", "alice", "--scope", "repository:**:pull")
	secret, newline := strings.CutSuffix(r.stdout, "\n")
	if _, err := login.ParseSecret(secret); err != nil || !newline || strings.Contains(r.stderr, secret) || !strings.Contains(r.stderr, "token 2 of alice") {
		t.Errorf("%+v", r)
	}
	if out := o.ok("", "token", "list") + o.ok("", "token", "list", "--json"); strings.Contains(out, secret) || strings.Contains(out, got.Token) {
		t.Errorf("a list shows secrets:\n%s", out)
	}
}

func TestTokenList(t *testing.T) {
	t.Parallel()
	o := cli{t, newData(t)}
	o.ok("password", "user", "add", "alice", "--password-stdin")
	o.ok("", "robot", "create", "deployer", "--scope", "repository:**:pull")
	secret := strings.TrimSpace(o.ok("", "token", "create", "--owner", "alice", "--scope", "repository:**:pull"))
	o.ok("", "token", "create", "--owner", "robot+deployer", "--scope", "repository:**:pull", "--expires", "1m")
	owners := func(args ...string) (owners []string) {
		t.Helper()
		var list []tokenInfo
		o.into(&list, "", append([]string{"token", "list"}, args...)...)
		for _, info := range list {
			owners = append(owners, strconv.FormatInt(info.ID, 10)+" "+info.Kind+" "+info.Owner)
		}
		return owners
	}
	all := []string{"1 robot robot+deployer", "2 personal alice", "3 robot robot+deployer"}
	if got := owners(); !reflect.DeepEqual(got, all) {
		t.Errorf("all: %q", got)
	}
	if got := owners("--owner", "alice"); !reflect.DeepEqual(got, all[1:2]) {
		t.Errorf("alice's: %q", got)
	}

	p := serve(t, o.data, nil)
	if got := p.status(basic("alice", secret)...); got != http.StatusOK {
		t.Errorf("before: %d", got)
	}
	var list []tokenInfo
	if o.into(&list, "", "token", "list", "--owner", "alice"); list[0].LastUsed == nil || time.Since(*list[0].LastUsed) > 2*time.Hour {
		t.Errorf("last used %v", list[0].LastUsed)
	}
	o.ok("", "token", "revoke", "2")
	if got := p.status(basic("alice", secret)...); got != http.StatusUnauthorized {
		t.Errorf("revoked: %d", got)
	}
	if got := owners("--owner", "alice"); got != nil {
		t.Errorf("alice's after that: %q", got)
	}
}

func TestTokenTable(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	used := now.Add(-time.Hour)
	table := tokenTable([]tokenInfo{{ID: 1, Expires: now.Add(time.Minute), LastUsed: &used}, {ID: 2, Expires: now}}, now)
	if first, second := table.rows[0], table.rows[1]; first[6] != "2026-11-21 12:01" || first[7] != "2026-11-21 11h" || second[6] != "expired" || second[7] != "" {
		t.Errorf("%q", table.rows)
	}
}

func TestTokenRefuses(t *testing.T) {
	t.Parallel()
	o := cli{t, newData(t)}
	o.ok("password", "user", "add", "alice", "--password-stdin")
	create := func(args ...string) []string { return append([]string{"token", "create"}, args...) }
	scope := []string{"--owner", "alice", "--scope", "repository:**:pull"}
	for _, c := range []struct {
		word string
		args []string
	}{
		{`"owner"`, create("--scope", "repository:**:pull")},
		{"--scope is missing", create("--owner", "alice")},
		{"expected repository:PATTERN:ACTIONS", create("--owner", "alice", "--scope", "everything")},
		{`action "write"`, create("--owner", "alice", "--scope", "repository:a:write")},
		{`no user "bob"`, create("--owner", "bob", "--scope", "repository:**:pull")},
		{`no robot "bob"`, create("--owner", "robot+bob", "--scope", "repository:**:pull")},
		{"to 366 days", create(append(scope, "--expires", "367d")...)},
		{"a minute to", create(append(scope, "--expires", "0d")...)},
		{"expected days", create(append(scope, "--expires", "soon")...)},
		{"--cidr", create(append(scope, "--cidr", "10.0.0.0/33")...)},
		{`--cidr: "10.1.2.3/8" has more than the network's bits: expected 10.0.0.0/8`, create(append(scope, "--cidr", "10.1.2.3/8")...)},
		{"printable", create(append(scope, "--name", "a\nb")...)},
		{"there is no token 9", []string{"token", "revoke", "9"}},
		{"number of a token", []string{"token", "revoke", "berthp_x"}},
		{`no user "bob"`, []string{"token", "list", "--owner", "bob"}},
	} {
		o.refused("", []string{c.word}, c.args...)
	}
}

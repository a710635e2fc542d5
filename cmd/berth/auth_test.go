package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth/policy"
)

const teamPolicy = `issuers:
  - {name: github, url: 'https://ci.example', audiences: [here], match: {owner: acme}}
groups:
  leads: [eve]
policy:
  - {name: team, who: ['group:team-a'], repos: ['team-a/**'], allow: [push]}
  - {name: lead, who: ['group:leads'], repos: ['**'], allow: [push, delete, catalog]}
  - {name: job, who: ['oidc:github'], when: {claims: {ref: [main, 'v*']}}, repos: ['{claims.repository}'], allow: [push]}
  - {name: inside, who: [anonymous], when: {ip: 10.0.0.0/8}, repos: ['**'], allow: [pull]}
  - {name: keep, who: [authenticated], repos: ['team-a/prod'], deny: [delete]}
`

// TestAuthCanOfAnOpenRegistry: `auth can` answers as the server does, which is open until the first
// user.
func TestAuthCanOfAnOpenRegistry(t *testing.T) {
	t.Parallel()
	data := newData(t)
	can := func(env ...string) result {
		return berth(t, env, "auth", "can", "anonymous", "push", "a", "--data", data)
	}
	const open = "yes: everyone who reaches it may do everything: authentication is off until the first user is added\n"
	if r := can(); r.code != 0 || r.stdout != open {
		t.Errorf("before the first start: %+v", r)
	}
	if r := can("BERTH_HTTP_ADDR=0.0.0.0:5000"); r.code != 1 {
		t.Errorf("beyond loopback: %+v", r)
	}
	p := serve(t, data, nil)
	if err := pushBlob(p.url, "a", []byte("x")); err != nil {
		t.Error(err)
	}
	if r := can(); r.code != 0 || r.stdout != open {
		t.Errorf("an open server: %+v", r)
	}
	addUser(t, data, "alice", "secret")
	if r := can(); r.code != 1 || r.stdout != "no: no rule allows it\n" {
		t.Errorf("after the first user: %+v", r)
	}
	p.await("authentication", func() bool { return p.status() == http.StatusUnauthorized })
	p.stop()
}

// TestAuthCan: `auth can` works without a database, and does not create one.
func TestAuthCan(t *testing.T) {
	t.Parallel()
	data := newData(t)
	file := writeFile(t, "policy.yaml", teamPolicy)
	for question, want := range map[string]string{
		"user:bob push team-a/app --group team-a": "yes: allowed by team\n",
		"user:bob push team-a/app":                "no: no rule allows it\n",
		"user:bob push other/app --group team-a":  "no: no rule allows it\n",
		"user:eve delete other/app":               "yes: allowed by lead\n",
		"user:eve delete team-a/prod":             "no: denied by keep\n",
		"user:eve catalog":                        "yes: allowed by lead\n",
		"robot:eve catalog":                       "no: no rule allows it\n",
		"anonymous pull a --ip 10.1.1.1":          "yes: allowed by inside\n",
		"anonymous pull a --ip 192.0.2.1":         "no: no rule allows it\n",
		"anonymous pull a":                        "no: no rule allows it\n",
		"oidc:github push acme/app --claim repository=acme/app --claim ref=v1":                 "yes: allowed by job\n",
		"oidc:github push acme/app --claim repository=acme/app --claim ref=x":                  "no: no rule allows it\n",
		"oidc:github push acme/app --claim repository=acme/app --claim ref=x --claim ref=main": "yes: allowed by job\n",
		"anonymous delete a --auth-mode none":                                                  "yes: everyone may do everything: auth.mode is none\n",
	} {
		args := append([]string{"auth", "can"}, strings.Fields(question)...)
		r := berth(t, nil, append(args, "--data", data, "--auth-policy", file)...)
		code := 1
		if strings.HasPrefix(want, "yes") {
			code = 0
		}
		note := ""
		if strings.HasPrefix(question, "user:") || strings.HasPrefix(question, "robot:") {
			note = "berth: note: there is no registry in " + data + " yet; groups are those of the policy file and of --group\n"
		}
		if r.stdout != want || r.code != code || r.stderr != note {
			t.Errorf("%s: %+v, want %q", question, r, want)
		}
	}
	if r := berth(t, nil, "auth", "can", "user:bob", "push", "a", "--data", data, "--auth-mode", "berth"); r.code != 0 || r.stdout != "yes: allowed by default policy\n" {
		t.Errorf("no policy file: %+v", r)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("a question made %s: %v", data, err)
	}
}

func TestAuthCanJSON(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "policy.yaml", teamPolicy)
	r := berth(t, []string{"BERTH_AUTH_POLICY=" + file}, "auth", "can", "user:eve", "delete", "team-a/prod", "--json", "--data", newData(t))
	var got map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 1 || !strings.HasPrefix(r.stderr, "berth: note: there is no registry in ") {
		t.Fatalf("%+v: %v", r, err)
	}
	want := map[string]any{"identity": "user:eve", "action": "delete", "repository": "team-a/prod", "allowed": false, "rule": "keep"}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: %v, want %v", key, got[key], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
}

// TestAuthCanReadsAccounts: groups and the disabled state come from the database.
func TestAuthCanReadsAccounts(t *testing.T) {
	t.Parallel()
	data := newData(t)
	file := writeFile(t, "policy.yaml", teamPolicy)
	must := func(args ...string) {
		t.Helper()
		if r := berth(t, nil, append(args, "--data", data)...); r.code != 0 {
			t.Fatalf("%v: %+v", args, r)
		}
	}
	can := func(want string, wantErr string, args ...string) {
		t.Helper()
		r := berth(t, nil, append(append([]string{"auth", "can"}, args...), "--data", data, "--auth-policy", file)...)
		if r.stdout != want+"\n" || !strings.Contains(r.stderr, wantErr) || (wantErr == "") != (r.stderr == "") {
			t.Errorf("%v: %+v, want %q and %q", args, r, want, wantErr)
		}
	}
	must("robot", "create", "bot", "--scope", "repository:**:pull", "--group", "team-a")
	can("yes: allowed by team", "", "robot:bot", "push", "team-a/app")
	can("yes: allowed by lead", "", "robot:bot", "push", "other", "--group", "leads")
	can("no: no rule allows it", `the database has no user "bot"`, "user:bot", "push", "team-a/app")
	can("yes: allowed by lead", `the database has no user "eve"`, "user:eve", "push", "a")
	addUser(t, data, "eve", "some password")
	can("yes: allowed by lead", "", "user:eve", "push", "a")
	must("user", "disable", "eve")
	can("no: the account is disabled", "", "user:eve", "push", "a")
	must("user", "enable", "eve")
	can("yes: allowed by lead", "", "user:eve", "push", "a")
}

func TestAuthExplain(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "policy.yaml", teamPolicy)
	flags := []string{"--data", newData(t), "--auth-policy", file}
	r := berth(t, nil, append([]string{"auth", "explain", "user:eve", "push", "team-a/app", "--group", "x"}, flags...)...)
	for _, want := range []string{
		"user:eve is in leads, x\n", "yes: allowed by lead\n",
		"team 6 allow push no is for group:team-a\n", "lead 7 allow push,delete,catalog yes is for group:leads, in **\n",
		"job 8 allow push no is for oidc:github\n", "inside 9 allow pull no is about other actions\n", "keep 10 deny delete no is about other actions\n",
	} {
		if !strings.Contains(joinSpaces(r.stdout), want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if r.code != 0 || !strings.HasPrefix(r.stderr, "berth: note: there is no registry in ") {
		t.Errorf("%+v", r)
	}
	r = berth(t, nil, append([]string{"auth", "explain", "anonymous", "push", "a"}, flags...)...)
	if r.code != 0 || !strings.HasPrefix(r.stdout, "no: no rule allows it\n") {
		t.Errorf("a no: %+v", r)
	}
	r = berth(t, nil, append([]string{"auth", "explain", "user:eve", "--json"}, flags...)...)
	var got explanation
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 0 || strings.Contains(r.stdout, "decision") {
		t.Fatalf("%+v: %v", r, err)
	}
	if len(got.Rules) != 5 || len(got.Groups) != 1 || got.Identity != "user:eve" {
		t.Fatalf("%+v", got)
	}
	want := policy.Verdict{Rule: "lead", Line: 7, Effect: "allow", Applied: true, Why: "is for group:leads, in **"}
	if v := got.Rules[1]; v.Rule != want.Rule || v.Line != want.Line || v.Effect != want.Effect || v.Applied != want.Applied || v.Why != want.Why {
		t.Errorf("%+v, want %+v", v, want)
	}
	r = berth(t, nil, "auth", "explain", "user:eve", "pull", "a", "--data", filepath.Join(t.TempDir(), "none"))
	if !strings.Contains(joinSpaces(r.stdout), "default policy - allow pull,push,delete,catalog yes is for authenticated, in **\n") {
		t.Errorf("%+v", r)
	}
}

// joinSpaces replaces each run of white space in a line by one space.
func joinSpaces(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

func TestAuthRefuses(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "policy.yaml", teamPolicy)
	bad := writeFile(t, "bad.yaml", "policy:\n  - {name: a, alow: pull}\n")
	for args, want := range map[string]string{
		"can bob push a":                                `"bob" is none of user:NAME`,
		"can user:bob write a":                          `"write" is no action: expected pull, push, delete or catalog`,
		"can user:bob push":                             "push wants a repository",
		"can user:bob push A":                           `"A" is not a repository name`,
		"can user:bob catalog a":                        "the catalog is of no repository",
		"can user:bob":                                  "accepts between 2 and 3 arg(s)",
		"can oidc:gitlab push a":                        "the policy has no issuer gitlab",
		"can oidc:github push a --claim ref":            `--claim: "ref" is not NAME=VALUE`,
		"can user:bob push a --claim ref=x":             "only CI jobs have claims",
		"can anonymous pull a --ip 10.0.0.0/8":          `--ip: "10.0.0.0/8" is no address`,
		"explain":                                       "accepts between 1 and 3 arg(s)",
		"explain user:bob pull a --auth-policy " + bad:  "bad.yaml:2: unknown key alow, did you mean allow?",
		"can user:bob pull a --auth-policy /absent.yml": "/absent.yml",
	} {
		// args may repeat a flag: the last one counts.
		all := append([]string{"auth"}, strings.Fields(args)...)
		all = append(all[:2:2], append([]string{"--auth-policy", file, "--data", newData(t)}, all[2:]...)...)
		if r := berth(t, nil, all...); r.code != 1 || r.stdout != "" || !strings.HasPrefix(r.stderr, "berth: ") || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v, want %q", args, r, want)
		}
	}
}

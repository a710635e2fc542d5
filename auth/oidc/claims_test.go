package oidc

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"
)

func TestValues(t *testing.T) {
	for raw, want := range map[string][]string{
		`"main"`:                  {"main"},
		`""`:                      {""},
		`"a\nb"`:                  {"a\nb"},
		`1234567`:                 {"1234567"},
		`9007199254740993`:        {"9007199254740993"},
		`18446744073709551616`:    {"18446744073709551616"},
		`1.50`:                    {"1.50"},
		`1e400`:                   {"1e400"},
		`true`:                    {"true"},
		`false`:                   {"false"},
		`["a", 7, true]`:          {"a", "7", "true"},
		`[]`:                      nil,
		`null`:                    nil,
		`[null]`:                  nil,
		`{}`:                      nil,
		`{"a":"b"}`:               nil,
		`["a", ["b"]]`:            nil,
		`["a", {"b":"c"}]`:        nil,
		` [ "a" , "b" ] `:         {"a", "b"},
		`"\u0061\ud83d\ude00"`:    {"a😀"},
		`["10", 10, 10.0, "1e1"]`: {"10", "10", "10.0", "1e1"},
	} {
		got, ok := claimValues(json.RawMessage(raw))
		if ok != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("%s is %q, %t, expected %q", raw, got, ok, want)
		}
	}
}

// TestClaimNamesAreCaseSensitive checks that the names of claims are compared exactly, unlike the
// names of struct fields in encoding/json.
func TestClaimNamesAreCaseSensitive(t *testing.T) {
	c := claims{"ISS": json.RawMessage(`"https://a.example"`), "Exp": json.RawMessage(`1`)}
	if got, err := c.text("iss"); err == nil {
		t.Errorf("ISS is taken for iss, %q", got)
	}
	if got, err := c.time("exp"); err == nil {
		t.Errorf("Exp is taken for exp, %s", got)
	}
}

func TestExpand(t *testing.T) {
	have := map[string][]string{
		"repository": {"acme/app"}, "ref": {"refs/heads/main"}, "empty": {""}, "none": {}, "two": {"a", "b"},
		"template": {"{claims.ref}"}, "a.b": {"c"},
	}
	for template, want := range map[string]string{
		"{claims.repository}":                 "acme/app",
		"{claims.repository}@{claims.ref}":    "acme/app@refs/heads/main",
		"ci-{claims.repository}-x":            "ci-acme/app-x",
		"everyone":                            "everyone",
		"{claims.a.b}":                        "c",
		"{claims.template}":                   "{claims.ref}",
		"":                                    "",
		"{claims.empty}":                      "",
		"x{claims.empty}":                     "",
		"{claims.none}":                       "",
		"{claims.two}":                        "",
		"{claims.missing}":                    "",
		"{claims.Repository}":                 "",
		"{claims.repository}{claims.missing}": "",
		"{claims.}":                           "",
		"{claims.repository":                  "",
		"{repository}":                        "",
		"{user}":                              "",
		"{}":                                  "",
		"{claims.repository}}":                "",
		"a b":                                 "",
		"{claims.repository}#1":               "",
	} {
		got, err := expand(template, have)
		if (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q is %q, %v, expected %q", template, got, err, want)
		}
	}
}

// FuzzClaims checks that what is made of any payload is limited in size and valid.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"repo:acme/app","repository_owner_id":1234567,"ref_protected":true,"groups_direct":["a","b"],"exp":1800000000}`,
		`{"a":{"b":[1,2]},"c":[[]],"d":null,"exp":1e400,"\u0000":"\ud800"}`,
		`{"iss":"a","iss":"b","ISS":"c"}`, `[]`, `null`, `{`, ``,
	} {
		f.Add(seed, "{claims.sub}@{claims.a}")
	}
	f.Fuzz(func(t *testing.T, payload, template string) {
		c, err := parseClaims("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".")
		if err != nil {
			return
		}
		kept, err := c.identityClaims()
		if err != nil {
			return
		}
		size := 0
		for name, v := range kept {
			if len(v) == 0 || slices.Contains(registeredClaims, name) {
				t.Errorf("claim %q is %q", name, v)
			}
			for _, s := range append(v, name) {
				size += len(s)
			}
		}
		if size > maxClaims {
			t.Errorf("%d bytes of claims", size)
		}
		name, err := expand(template, kept)
		if err == nil && checkName(name) != nil {
			t.Errorf("an identity is called %q", name)
		}
	})
}

package policy

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth"
)

// TestParseRefuses checks that each fault is reported with its line.
func TestParseRefuses(t *testing.T) {
	const issuers = "issuers:\n  - {name: ci, url: 'https://ci.example', audiences: [b], match: {owner_id: '1'}}\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "policy.yaml:1: the file is empty"},
		{"comment", "# later\n", "policy.yaml:1: the file is empty"},
		{"list", "- a\n", "policy.yaml:1: the file: expected a mapping, found a list"},
		{"no rules", "groups: {a: [bob]}\n", "policy.yaml:1: there is no section policy"},
		{"empty rules", "policy: []\n", "policy.yaml:1: policy is empty"},
		{"nothing for rules", "policy:\n", "policy.yaml:1: policy: expected a list, found nothing"},
		{"section", "polcy: []\n", "policy.yaml:1: unknown key polcy, did you mean policy?"},
		{"section that is like none", "version: 1\n", "policy.yaml:1: unknown key version: expected one of issuers, groups, policy, tests"},
		{"two documents", "policy: [{name: a, who: anonymous, repos: a, allow: pull}]\n---\na: b\n", "policy.yaml:2: a second document"},
		{"syntax", "policy:\n  - name: a\n   who: b\n", "policy.yaml:2: not well-formed YAML, here or below: did not find expected '-' indicator"},
		{"syntax in the first line", "policy: [a, {b]\n", "policy.yaml:1: not well-formed YAML"},
		{"bare stars in the first line", "policy: **\n", "policy.yaml:1: not well-formed YAML"},
		{"a tab", "policy:\n\t- name: a\n", "policy.yaml:2: not well-formed YAML, here or below: found character that cannot start"},
		{"bare star", rules("name: a", "who: anonymous", "repos: [*-web]", "allow: pull"), "policy.yaml:4: not well-formed YAML, here or below: *-web is an alias in YAML; text that begins with *"},
		{"bare stars", rules("name: a", "who: anonymous", "repos: [**]", "allow: pull"), "policy.yaml:4: not well-formed YAML, here or below: did not find expected alphabetic"},
		{"bare exclamation", rules("name: a", "who: !group:x"), "policy.yaml:3: who: YAML takes !group:x for a tag: put it in quotes"},
		{"bare brace", rules("name: a", "repos: [{user}]"), `policy.yaml:3: repos: expected a text, found a mapping (text that begins with { must be in quotes)`},
		{"alias", rules("name: &n a", "who: *n"), "policy.yaml:3: who: expected a text, found an alias, *n (write out"},
		{"merge", "policy:\n  - &a {name: a, who: anonymous, repos: a, allow: pull}\n  - {<<: *a, name: b}\n", "policy.yaml:3: unknown key <<"},
		{"too large", "policy: # " + strings.Repeat("x", MaxSize) + "\n", "policy.yaml:1: the file has more than 1048576 bytes"},
		{"too many rules", "policy: [" + strings.Repeat("{}, ", maxRules) + "{}]", "policy.yaml:1: policy has 1001 rules, at most 1000"},
		{"too many issuers", "issuers: [" + strings.Repeat("{}, ", maxIssuers) + "{}]", "policy.yaml:1: there are 101 issuers, at most 100"},
		{"too many tests", good + "tests: [" + strings.Repeat("{}, ", maxTests) + "{}]", ": there are 1001 tests, at most 1000"},

		{"key of a rule", rules("name: a", "who: anonymous", "repos: a", "alow: [pull]"), "policy.yaml:5: unknown key alow, did you mean allow?"},
		{"key of a condition", rules("name: a", "when: {ips: 10.0.0.0/8}"), "policy.yaml:3: unknown key ips, did you mean ip?"},
		{"key twice", rules("name: a", "who: anonymous", "repos: a", "who: authenticated"), "policy.yaml:5: key who is there twice, first in line 3"},
		{"rule is a text", "policy:\n  - everything\n", `policy.yaml:2: a rule: expected a mapping, found "everything"`},
		{"action", rules("name: a", "who: anonymous", "repos: a", "allow:", "  - pull", "  - write"), "policy.yaml:7: allow: unknown action write: expected pull, push, delete or catalog"},
		{"action twice", rules("name: a", "allow: [pull, pull]"), "policy.yaml:3: allow: pull is there twice"},
		{"no name", rules("who: anonymous", "repos: a", "allow: pull"), "policy.yaml:2: a rule has no name"},
		{"empty name", rules("name: ''"), "policy.yaml:2: name is empty"},
		{"name with a line", rules(`name: "a\nb"`), "policy.yaml:2: name: \"a\\nb\" has characters that are not to be seen"},
		{"name twice", rules("name: a", "who: anonymous", "repos: a", "allow: pull") + "  - {name: a, who: anonymous, repos: b, allow: pull}\n", "policy.yaml:6: the name a is that of the rule in line 2 already"},
		{"no who", rules("name: a", "repos: a", "allow: pull"), "policy.yaml:2: rule a has no who"},
		{"empty who", rules("name: a", "who: []"), "policy.yaml:3: who is empty"},
		{"nothing for who", rules("name: a", "who:", "repos: a", "allow: pull"), "policy.yaml:3: who is empty"},
		{"only exclusions", rules("name: a", "who: ['!group:x']", "repos: a", "allow: pull"), "policy.yaml:2: rule a only excludes, in who, and so is for nobody"},
		{"both", rules("name: a", "who: [anonymous, '!anonymous']"), "policy.yaml:3: who: anonymous is both included and excluded"},
		{"word of who", rules("name: a", "who: [anonymous, everyone]"), `policy.yaml:3: who: "everyone" is none of anonymous, authenticated, user:NAME`},
		{"word with a name", rules("name: a", "who: 'authenticated:bob'"), `policy.yaml:3: who: "authenticated:bob" is none of`},
		{"user's name", rules("name: a", "who: ['user:ci-*']"), `policy.yaml:3: who: the name "ci-*" may have letters, digits`},
		{"group's name", rules("name: a", "who: ['group:ci-*']"), `policy.yaml:3: who: the name "ci-*" may have letters, digits`},
		{"no group's name", rules("name: a", "who: ['group:']"), `policy.yaml:3: who: a name has 1 to 128 characters`},
		{"certificates", rules("name: a", "who: ['cert:x']"), `policy.yaml:3: who: "cert:x" is none of`},
		{"no issuers", rules("name: a", "who: ['oidc:github']"), "policy.yaml:3: who: oidc:github: the section issuers has none of that name, nor any other"},
		{"no such issuer", issuers + rules("name: a", "who: ['!oidc:github']"), "policy.yaml:5: who: oidc:github: the section issuers has ci only"},
		{"no repos", rules("name: a", "who: anonymous", "allow: pull"), "policy.yaml:2: rule a has no repos"},
		{"empty repos", rules("name: a", "repos: []"), "policy.yaml:3: repos is empty"},
		{"pattern", rules("name: a", "repos: [a, 'a**']"), `policy.yaml:3: repos: pattern "a**": ** stands for whole components`},
		{"question mark", rules("name: a", "repos: 'a?'"), `policy.yaml:3: repos: pattern "a?": names have lower-case letters`},
		{"braces", rules("name: a", "repos: 'a/{group}'"), `policy.yaml:3: repos: pattern "a/{group}": what is in braces is {user} or {claims.NAME}`},
		{"open brace", rules("name: a", "repos: 'a/{user'"), `policy.yaml:3: repos: pattern "a/{user": what is in braces`},
		{"no claim", rules("name: a", "repos: 'a/{claims.}'"), "what is in braces"},
		{"stars beside braces", rules("name: a", "repos: '**{user}'"), `policy.yaml:3: repos: pattern "**{user}", with x for what is in braces: pattern "**x": ** stands`},
		{"neither", rules("name: a", "who: anonymous", "repos: a"), "policy.yaml:2: rule a has neither allow nor deny"},
		{"allow and deny", rules("name: a", "who: anonymous", "repos: a", "allow: pull", "deny: push"), "policy.yaml:2: rule a has both allow and deny: make two rules of it"},
		{"empty allow", rules("name: a", "allow: []"), "policy.yaml:3: allow is empty"},
		{"user of a robot", rules("name: a", "who: 'robot:r'", "repos: 'u/{user}'", "allow: pull"), "policy.yaml:2: rule a has {user}, which users alone have"},
		{"claims of users", rules("name: a", "who: authenticated", "repos: 'u/{claims.x}'", "allow: pull"), "policy.yaml:2: rule a has {claims.…}, which CI jobs alone have"},
		{"conditions of users", rules("name: a", "who: authenticated", "when: {claims: {a: b}}", "repos: u", "allow: pull"), "policy.yaml:2: rule a wants claims, which CI jobs alone have"},
		{"part of the catalog", rules("name: a", "who: anonymous", "repos: u/**", "deny: catalog"), "policy.yaml:2: rule a denies the catalog, which is one for all"},
		{"every job", strings.Replace(issuers, ", match: {owner_id: '1'}", "", 1) + rules("name: a", "who: 'oidc:ci'", "repos: u", "allow: pull"), "policy.yaml:4: rule a is for every job of oidc:ci, with any owner"},
		{"every job on main", strings.Replace(issuers, ", match: {owner_id: '1'}", "", 1) + rules("name: a", "who: 'oidc:ci'", "when: {claims: {ref: refs/heads/main, sub: '*'}}", "repos: u", "allow: pull"), "policy.yaml:4: rule a is for every job of oidc:ci, with any owner"},
		{"empty condition", rules("name: a", "when: {}"), "policy.yaml:3: when is empty"},
		{"empty claims", rules("name: a", "when: {claims: {}}"), "policy.yaml:3: claims is empty"},
		{"empty claim", rules("name: a", "when: {claims: {ref: []}}"), "policy.yaml:3: claim ref is empty"},
		{"network", rules("name: a", "when: {ip: 10.0.0.0/33}"), `policy.yaml:3: ip: "10.0.0.0/33" is neither an address nor a network`},
		{"host's bits", rules("name: a", "when: {ip: 10.0.0.1/8}"), `policy.yaml:3: ip: "10.0.0.1/8" has more than the network's bits: expected 10.0.0.0/8`},
		{"mapped", rules("name: a", "when: {ip: '::ffff:10.0.0.1'}"), "is an IPv4 address in IPv6"},
		{"mapped network", rules("name: a", "when: {ip: '::ffff:10.0.0.0/104'}"), "is an IPv4 address in IPv6"},
		{"zone", rules("name: a", "when: {ip: 'fe80::1%eth0'}"), "is neither an address nor a network"},

		{"group twice", "groups:\n  a: [bob]\n  a: [eve]\n", "policy.yaml:3: key a is there twice, first in line 2"},
		{"member twice", "groups:\n  a: [bob, bob]\n", "policy.yaml:2: group a: bob is there twice"},
		{"member's name", "groups:\n  a: ['user:bob']\n", `policy.yaml:2: group a: expected names of users: the name "user:bob" may have`},
		{"group with a star", "groups:\n  'a*': [bob]\n", `policy.yaml:2: groups: the name "a*" may have`},

		{"issuer's key", "issuers:\n  - nme: a\n", "policy.yaml:2: unknown key nme, did you mean name?"},
		{"issuer without name", issuerOf("url: https://a.example", "audiences: b"), "policy.yaml:2: an issuer has no name"},
		{"issuer's name", issuerOf("name: Git Hub"), `policy.yaml:2: name: "Git Hub": expected lower-case`},
		{"issuer without url", issuerOf("name: a", "audiences: b"), "policy.yaml:2: issuer a has no url"},
		{"http", issuerOf("name: a", "url: http://a.example"), `policy.yaml:3: url: "http://a.example": expected https://HOST`},
		{"query", issuerOf("name: a", "url: https://a.example?x=y"), "policy.yaml:3: url:"},
		{"fragment", issuerOf("name: a", "url: https://a.example#x"), "policy.yaml:3: url:"},
		{"password", issuerOf("name: a", "url: https://u:p@a.example"), "policy.yaml:3: url:"},
		{"no host", issuerOf("name: a", "url: https:///a"), "policy.yaml:3: url:"},
		{"keys over http", issuerOf("name: a", "keys: http://a.example/jwks"), `policy.yaml:3: keys: "http://a.example/jwks": expected https://HOST/PATH, where`},
		{"keys in a file", issuerOf("name: a", "keys: /etc/jwks.json"), "policy.yaml:3: keys:"},
		{"keys with a password", issuerOf("name: a", "keys: https://u:p@a.example/jwks"), "policy.yaml:3: keys:"},
		{"no audience", issuerOf("name: a", "url: https://a.example"), "policy.yaml:2: issuer a has no audiences: without one"},
		{"empty audiences", issuerOf("name: a", "audiences: []"), "policy.yaml:3: audiences is empty"},
		{"empty match", issuerOf("name: a", "match: {}"), "policy.yaml:3: match is empty"},
		{"template", issuerOf("name: a", "identity: '{user}'"), `policy.yaml:3: identity: "{user}": what is in braces is {claims.NAME}`},
		{"template without claims", issuerOf("name: a", "identity: ci"), `policy.yaml:3: identity: "ci" is the same for every job`},
		{"template half open", issuerOf("name: a", "identity: '{claims.a} }'"), "policy.yaml:3: identity:"},
		{"issuer twice", issuers + "  - {name: ci, url: 'https://b.example', audiences: [b]}\n", "policy.yaml:3: there are two issuers ci"},
		{"url twice", issuers + "  - {name: b, url: 'https://ci.example', audiences: [b]}\n", "policy.yaml:3: issuers ci and b have the same url"},

		{"test's key", good + "tests:\n  - {ass: anonymous}\n", "policy.yaml:7: unknown key ass, did you mean as?"},
		{"test of nobody", good + "tests:\n  - {repo: a, want: []}\n", "policy.yaml:7: a test has no as"},
		{"test of what", good + "tests:\n  - {as: bob, repo: a, want: []}\n", `policy.yaml:7: as: "bob" is none of user:NAME`},
		{"test of a job", good + "tests:\n  - {as: 'oidc:ci', repo: a, want: []}\n", "policy.yaml:7: as: oidc:ci: the section issuers has none"},
		{"test without want", good + "tests:\n  - {as: anonymous, repo: a}\n", "policy.yaml:7: a test has no want"},
		{"test's repo", good + "tests:\n  - {as: anonymous, repo: 'a/**', want: []}\n", `policy.yaml:7: repo: "a/**" is not a repository name`},
		{"test's address", good + "tests:\n  - {as: anonymous, ip: 10.0.0.0/8, repo: a, want: []}\n", `policy.yaml:7: ip: "10.0.0.0/8" is no address`},
		{"catalog of a repository", good + "tests:\n  - {as: anonymous, repo: a, want: [pull, catalog]}\n", "policy.yaml:7: the catalog is of no repository"},
		{"nowhere", good + "tests:\n  - {as: anonymous, want: [pull]}\n", "policy.yaml:7: a test without repo is of the catalog alone"},
		{"test fails", good + "tests:\n  - {as: 'user:bob', repo: a/b, want: [push, delete]}\n", "policy.yaml:7: test fails: user:bob may not delete on a/b (no rule allows it), which want has"},
		{"test fails the other way", good + "tests:\n  - {as: 'user:bob', repo: a/b, want: pull}\n", "policy.yaml:7: test fails: rule write allows user:bob to push on a/b, which want does not have"},
		{"test of the catalog fails", good + "tests:\n  - {as: 'user:bob', want: catalog}\n", "policy.yaml:7: test fails: user:bob may not catalog (no rule"},
	} {
		p, err := Parse("policy.yaml", []byte(c.text))
		if err == nil || p != nil {
			t.Errorf("%s: taken", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n%v\nwant\n%s", c.name, err, c.want)
		}
	}
}

// good is a valid file of five lines.
const good = "policy:\n  - name: write\n    who: [authenticated]\n    repos: ['a/**']\n    allow: [push]\n"

// TestSecretsOfURLsAreNotQuoted checks that the URLs of an issuer may not have secrets in them, and
// that the errors do not repeat these.
func TestSecretsOfURLsAreNotQuoted(t *testing.T) {
	for _, key := range []string{"url", "keys"} {
		for _, refused := range []string{
			"https://u:hunter2@a.example/k", "http://u:hunter2@a.example/k", "https://hunter2@a.example", "https:u:hunter2@a.example",
			"https://u:hunter2@a.example:port/k", "https://u:hunter2%@a.example/k", "//u:hunter2@a.example/k", "u:hunter2@a.example",
			"https://a.example/k?token=hunter2", "https://a.example:port/k?token=hunter2", "https://a.example/k#hunter2",
		} {
			_, err := Parse("policy.yaml", []byte(issuerOf("name: a", key+": '"+refused+"'")))
			switch {
			case err == nil:
				t.Errorf("%s: %s is accepted", key, refused)
			case strings.Contains(err.Error(), "hunter2"):
				t.Errorf("%s: %v", key, err)
			case !strings.Contains(err.Error(), key+": a URL with @, ? or #: expected https://HOST"):
				t.Errorf("%s: %s: %v", key, refused, err)
			}
		}
	}
}

// rules returns a file with one rule, whose keys have a line each, from the second line on.
func rules(lines ...string) string { return "policy:\n  - " + strings.Join(lines, "\n    ") + "\n" }

func issuerOf(lines ...string) string { return "issuers:\n  - " + strings.Join(lines, "\n    ") + "\n" }

// TestParseReportsAllFaults checks that several faults are reported together, in order, up to a
// limit.
func TestParseReportsAllFaults(t *testing.T) {
	_, err := Parse("p", []byte("tests: {}\npolicy:\n  - {nam: a}\ngroups: []\n"))
	want := "p:1: tests: expected a list, found a mapping (text that begins with { must be in quotes)\n" +
		"p:3: unknown key nam, did you mean name?\n" + "p:4: groups: expected a mapping, found a list"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = Parse("p", []byte("policy:\n"+strings.Repeat("  - {x: y}\n", 30)))
	if err == nil || strings.Count(err.Error(), "\n") != maxFaults || !strings.HasSuffix(err.Error(), "\np: and 10 more") {
		t.Errorf("30 faults:\n%v", err)
	}
}

// TestParseDoesNotFollowAliases parses a file whose aliases would expand to a huge document.
func TestParseDoesNotFollowAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("policy:\n  - &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 30 {
		fmt.Fprintf(&b, "  - &a%d [%s]\n", i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), ", "))
	}
	if _, err := Parse("p", []byte(b.String())); err == nil {
		t.Error("taken")
	}
	deep := "policy: " + strings.Repeat("[", MaxSize-100)
	if _, err := Parse("p", []byte(deep)); err == nil || strings.Count(err.Error(), "\n") > maxFaults {
		t.Error("taken")
	}
}

func TestIssuers(t *testing.T) {
	p, err := Parse("/etc/berth/policy.yaml", []byte(good+`issuers:
  - name: gitlab
    url: https://gitlab.example/x
    audiences: [https://registry.example, other]
    match: {namespace_id: 42, ref_protected: True, ref: [main, "v*"]}
    identity: "{claims.project_path}:{claims.ref}"
    ca: ca.pem
  - {name: plain, url: https://plain.example, audiences: one, ca: /ca.pem, keys: 'https://10.0.0.1:6443/openid/v1/jwks'}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []auth.Issuer{
		{Name: "gitlab", URL: "https://gitlab.example/x", Audiences: []string{"https://registry.example", "other"},
			Match:    map[string][]string{"namespace_id": {"42"}, "ref_protected": {"true"}, "ref": {"main", "v*"}},
			Identity: "{claims.project_path}:{claims.ref}", CA: filepath.Join("/etc/berth", "ca.pem")},
		{Name: "plain", URL: "https://plain.example", Audiences: []string{"one"}, Identity: "{claims.sub}", CA: "/ca.pem", Keys: "https://10.0.0.1:6443/openid/v1/jwks"},
	}
	if got := p.Issuers(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseIdentity(t *testing.T) {
	for text, want := range map[string]auth.Identity{
		"anonymous": {Kind: auth.Anonymous}, "user:bob": {Kind: auth.User, Name: "bob"},
		"robot:ci": {Kind: auth.Robot, Name: "ci"}, "oidc:github": {Kind: auth.CI, Issuer: "github"},
	} {
		if got, err := ParseIdentity(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "bob", "user:", "user:a b", "anonymous:x", "oidc:", "oidc", "cert:x", "authenticated", "user:oidc"} {
		if id, err := ParseIdentity(text); err == nil {
			t.Errorf("%q is taken for %+v", text, id)
		}
	}
}

package policy

import (
	"strings"
	"testing"
)

// TestRulesNameTheOwner checks which claims say whose a job is, in the conditions of a rule and in
// the match of an issuer.
func TestRulesNameTheOwner(t *testing.T) {
	for _, c := range []struct {
		claims string // in YAML
		pins   bool
	}{
		{`repository_owner_id: "1"`, true},
		{`repository_id: ["1", "2"]`, true},
		{`repository: acme/app`, true},
		{`repository: acme/*`, true},
		{`sub: "repo:acme/app:*"`, true},
		{`sub: "repo:acme/*"`, true},
		{`sub: "project_path:acme/app:ref_type:branch:ref:*"`, true},
		{`sub: "system:serviceaccount:builds:*"`, true},
		{`sub: "1234567890"`, true},
		{`ci_config_ref_uri: "gitlab.example/acme/app//.gitlab-ci.yml@*"`, true},
		{`workflow_ref: "acme/app/.github/workflows/build.yml@*"`, true},
		{`actor: alice, repository_owner_id: "1"`, true},

		{`sub: "*"`, false},
		{`sub: "repo:*"`, false},
		{`sub: "repo:acme*"`, false},
		{`sub: "repo:*/app:ref:refs/heads/main"`, false},
		{`sub: "re*:acme/app"`, false},
		{`sub: ["repo:acme/app:*", "repo:*"]`, false},
		{`repository: "*/*"`, false},
		{`repository: "*e*"`, false},
		{`repository: "acme*/app"`, false},
		{`repository_owner_id: "12*"`, false},
		{`workflow_ref: "*/.github/workflows/build.yml@refs/heads/main"`, false},
		{`ci_config_ref_uri: "gitlab.example/*"`, false},
		{`job_workflow_ref: "acme/shared/.github/workflows/build.yml@refs/heads/main"`, false},
		{`job_workflow_sha: abc, workflow_sha: abc, sha: abc, ci_config_sha: abc`, false},
		{`actor: alice, actor_id: "1", triggering_actor: alice`, false},
		{`user_login: alice, user_id: "1", user_email: alice@acme.example, user_access_level: owner`, false},
		{`run_id: "1", run_number: "1", run_attempt: "1"`, false},
		{`iss: https://ci.example, aud: https://registry.example`, false},
		{`ref: refs/heads/main, event_name: push`, false},
	} {
		const issuers = "issuers:\n  - {name: ci, url: 'https://ci.example', audiences: [b], match: {owner_id: '1'}}\n"
		rule := rules("name: a", "who: 'oidc:ci'", "when: {claims: {"+c.claims+"}}", "repos: u", "allow: pull")
		unmatched := strings.Replace(issuers, ", match: {owner_id: '1'}", "", 1)
		matched := strings.Replace(issuers, "owner_id: '1'", c.claims, 1)
		for where, text := range map[string]string{
			"when":  unmatched + rule,
			"match": matched + rules("name: a", "who: 'oidc:ci'", "repos: u", "allow: pull"),
		} {
			_, err := Parse("policy.yaml", []byte(text))
			refused := err != nil && strings.Contains(err.Error(), "is for every job of oidc:ci")
			if c.pins && err != nil || !c.pins && !refused {
				t.Errorf("%s: {%s}: %v", where, c.claims, err)
			}
		}
	}
}

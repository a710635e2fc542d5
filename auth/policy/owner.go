package policy

import (
	"slices"
	"strings"
)

// A rule for an issuer has to say whose jobs it is for. It does so by a claim whose value is under
// the control of one owner, such as repository_owner_id, with patterns that name the owner.

// unpinnedClaims are claims that do not tell whose job it is: anyone can get a token with any value
// of them.
var unpinnedClaims = []string{
	// what the job runs for, and on
	"base_ref", "deployment_action", "deployment_tier", "environment", "environment_action", "environment_protected",
	"event_name", "head_ref", "job_source", "pipeline_source", "project_visibility", "ref", "ref_path", "ref_protected",
	"ref_type", "repository_visibility", "runner_environment", "runner_id", "workflow",
	// its source: a fork has the same commits, and any repository may call a public workflow
	"ci_config_sha", "job_workflow_ref", "job_workflow_sha", "sha", "workflow_sha",
	// the user that set it off: an event in the repository of another owner is enough
	"actor", "actor_id", "groups_direct", "triggering_actor", "user_access_level", "user_email", "user_id",
	"user_identities", "user_login",
	// the run and the token
	"aud", "check_run_id", "exp", "iat", "iss", "job_id", "jti", "nbf", "pipeline_id",
}

// pinsOwner reports whether the wanted claims restrict whose job it is.
func pinsOwner(want map[string][]string) bool {
	for name, patterns := range want {
		anyone := slices.Contains(unpinnedClaims, name) || strings.HasPrefix(name, "run_") ||
			slices.ContainsFunc(patterns, func(p string) bool { return strings.Contains(ownerPart(name, p), "*") })
		if !anyone {
			return true
		}
	}
	return false
}

// ownerPart returns the beginning of a claim's pattern that names the owner: up to the first slash,
// as in "acme/app". Before the owner, a sub has the kind of the owner, as in "repo:acme/app:…", and
// a ci_config_ref_uri the host.
func ownerPart(claim, pattern string) string {
	separators, parts := "/", 1
	switch claim {
	case "sub":
		separators, parts = ":/", 2
	case "ci_config_ref_uri":
		parts = 2
	}
	at := 0
	for ; parts > 0; parts-- {
		n := strings.IndexAny(pattern[at:], separators)
		if n < 0 {
			return pattern
		}
		at += n + 1
	}
	return pattern[:at]
}

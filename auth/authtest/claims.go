package authtest

import "encoding/json"

// GitHubClaims returns the claims that GitHub Actions gives a job for a push to main of acme/app,
// without iss and the times.
func GitHubClaims(audience string) map[string]any {
	return map[string]any{
		"aud":                   audience,
		"sub":                   "repo:acme/app:ref:refs/heads/main",
		"ref":                   "refs/heads/main",
		"ref_type":              "branch",
		"ref_protected":         "true",
		"sha":                   "5f1c2a9d3b7e4860a1c2d3e4f5061728394a5b6c",
		"repository":            "acme/app",
		"repository_id":         "74321987",
		"repository_owner":      "acme",
		"repository_owner_id":   "1234567",
		"repository_visibility": "private",
		"actor":                 "octocat",
		"actor_id":              "583231",
		"workflow":              "release",
		"workflow_ref":          "acme/app/.github/workflows/release.yml@refs/heads/main",
		"workflow_sha":          "5f1c2a9d3b7e4860a1c2d3e4f5061728394a5b6c",
		"job_workflow_ref":      "acme/app/.github/workflows/release.yml@refs/heads/main",
		"job_workflow_sha":      "5f1c2a9d3b7e4860a1c2d3e4f5061728394a5b6c",
		"event_name":            "push",
		"head_ref":              "",
		"base_ref":              "",
		"run_id":                "9876543210",
		"run_number":            "42",
		"run_attempt":           "1",
		"runner_environment":    "github-hosted",
		"enterprise":            "acme-corp",
		"enterprise_id":         "4711",
	}
}

// GitLabClaims returns the claims that GitLab gives a job on the protected branch main of acme/app,
// without iss and the times.
func GitLabClaims(audience string) map[string]any {
	return map[string]any{
		"aud":                   audience,
		"sub":                   "project_path:acme/app:ref_type:branch:ref:main",
		"namespace_id":          "72",
		"namespace_path":        "acme",
		"project_id":            "20",
		"project_path":          "acme/app",
		"user_id":               "1",
		"user_login":            "sample-user",
		"user_email":            "sample-user@example.com",
		"user_access_level":     "developer",
		"user_identities":       []any{map[string]any{"provider": "github", "extern_uid": "2435223452345"}},
		"groups_direct":         []any{"acme", "acme/platform"},
		"pipeline_id":           "574",
		"pipeline_source":       "push",
		"job_id":                "302",
		"ref":                   "main",
		"ref_type":              "branch",
		"ref_path":              "refs/heads/main",
		"ref_protected":         "true",
		"runner_id":             json.Number("9007199254740993"),
		"runner_environment":    "self-hosted",
		"sha":                   "714a629c0b401fdce83e847fc9589983fc6f46bc",
		"project_visibility":    "public",
		"ci_config_ref_uri":     "gitlab.example.com/acme/app//.gitlab-ci.yml@refs/heads/main",
		"ci_config_sha":         "714a629c0b401fdce83e847fc9589983fc6f46bc",
		"environment":           "production",
		"environment_protected": "true",
		"deployment_tier":       "production",
	}
}

package api

import (
	"strings"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
)

// The values of "error" in a challenge (RFC 6750, 3.1).
const (
	noError           = ""
	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
)

// tokenPath is the path of the token endpoint.
const tokenPath = "/v2/auth"

// unauthorized returns the error for a 401 and sets its challenge, which tells the client where to
// fetch a token and for which access (Docker's token specification; RFC 6750). Clients were tested
// with exactly this form: no space after a comma, all scopes in one parameter, and no scope
// parameter without a scope.
func (a *API) unauthorized(w *web.Response, r *request, problem, message string, wanted []auth.Access) error {
	at, err := a.baseURLFor(r.origin)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(`Bearer realm="` + at + tokenPath + `",service="` + a.auth.Tokens.Service() + `"`)
	if len(wanted) > 0 {
		b.WriteString(`,scope="` + scopeText(wanted) + `"`)
	}
	if problem != noError {
		b.WriteString(`,error="` + problem + `"`)
	}
	h := w.Header()
	h["Www-Authenticate"] = []string{b.String()}
	h["Cache-Control"] = noStore
	return &manifest.Error{Kind: errUnauthorized, Message: message, Detail: unauthorizedDetail(wanted)}
}

var noStore = []string{"no-store"}

// scopeText returns accesses as a scope: "repository:a:pull repository:b:pull,push".
func scopeText(access []auth.Access) string {
	words := make([]string, len(access))
	for i, a := range access {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}

// detailEntry is an element of the detail of a 401, in the form of docker-distribution.
type detailEntry struct{ Type, Name, Action string }

// unauthorizedDetail returns the detail of a 401; nil, not an empty list, when no access is wanted.
func unauthorizedDetail(wanted []auth.Access) any {
	var needs []detailEntry
	for _, a := range wanted {
		for _, action := range a.Actions {
			needs = append(needs, detailEntry{a.Type, a.Name, action})
		}
	}
	if needs == nil {
		return nil
	}
	return needs
}

// requiredAccess returns the access that a token needs for an operation, in the form in which
// clients ask for it. A push needs pull too: clients look first which blobs exist.
func (r *request) requiredAccess(p auth.Permission) []auth.Access {
	repository := func(name string, actions ...string) auth.Access {
		return auth.Access{Type: "repository", Name: name, Actions: actions}
	}
	switch p {
	case auth.None:
		return nil
	case auth.Catalog:
		return []auth.Access{{Type: "registry", Name: "catalog", Actions: []string{"*"}}}
	case auth.Push:
		wanted := []auth.Access{repository(r.repo, "pull", "push")}
		if from := r.mountFrom(); from != "" && from != r.repo {
			wanted = append(wanted, repository(from, "pull"))
		}
		return wanted
	default:
		return []auth.Access{repository(r.repo, string(p))}
	}
}

// mountFrom returns the source repository of a mount, "" when the request is no mount or names
// none.
func (r *request) mountFrom() string {
	if r.route != routeUploads {
		return ""
	}
	q, err := r.uploadQuery()
	if err != nil || q.mount == "" {
		return ""
	}
	return q.from
}

package api

import (
	"net/url"
	"slices"
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

// tokenPath is where tokens are issued.
const tokenPath = "/v2/auth"

// base is a URL under which clients reach this registry.
type baseURL struct {
	host string // with the port, if it has one
	url  string // without a slash at the end
}

func newBaseURLs(urls []string) []baseURL {
	var bases []baseURL
	for _, text := range urls {
		b := baseURL{url: strings.TrimRight(text, "/")}
		if u, err := url.Parse(text); err == nil {
			b.host = u.Host
		}
		bases = append(bases, b)
	}
	return bases
}

// baseOf is the URL under which a client reached us: of those configured the
// one for the host it wrote, or the first. Where none is configured it is made
// of what the client wrote, which must then be a host and nothing else.
func (a *API) baseURLFor(o web.Origin) (string, error) {
	if len(a.baseURLs) > 0 {
		at := slices.IndexFunc(a.baseURLs, func(b baseURL) bool { return strings.EqualFold(b.host, o.Host) })
		return a.baseURLs[max(at, 0)].url, nil
	}
	if !plainHost(o.Host) {
		return "", manifest.Errorf(errParameter, "the request's host is %q, expected a name or an address, and a port", web.Shorten(o.Host))
	}
	return o.Scheme + "://" + o.Host, nil
}

// plainHost reports whether s may stand in a URL and between quotes as it is.
// net/http lets more through: the host of an absolute request line may have a quote.
func plainHost(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return s != "" && strings.Trim(s, letters+".-_:[]") == ""
}

// unauthorized answers that a token is needed, with one challenge that says
// where it is to be had and for what (Docker's token specification; RFC 6750).
// Its form has been tried with the clients there are: no space follows a comma,
// all scopes are one parameter, and none is there where nothing is asked for.
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

// scopeText is a list of accesses as a scope, "repository:a:pull repository:b:pull,push".
func scopeText(access []auth.Access) string {
	words := make([]string, len(access))
	for i, a := range access {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}

// need is an element of the detail of a 401, as docker-distribution has it.
type detailEntry struct{ Type, Name, Action string }

// missing is the detail of a 401: nil, not an empty list, where nothing is wanted.
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

// wanted is what a token has to give for a request: what the operation needs, as
// clients ask for it. To push one has to pull too, or the client cannot look
// what is there already.
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

// mountSource is the repository that a POST wants to take a blob from, "" for none.
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

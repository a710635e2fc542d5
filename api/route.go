package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
)

// handler answers a request that was routed, parsed and authorized. It may set header fields before
// it returns an error. The error is answered by API.answer.
type handler func(a *API, w *web.Response, r *request) error

// pathElement is the kind of the last element of a path.
type pathElement int

const (
	elemNone      pathElement = iota
	elemReference             // a tag or a digest
	elemDigest
	elemUploadID
	elemHealthCheck // no element; every host is answered for, and requests are logged at debug level
)

// protection is who may use a route.
type protection int

const (
	guarded protection = iota // authenticated callers with the route's permission
	public                    // everyone; tells nothing about repositories, or authenticates by itself
)

// route is one row of the table. The rows are written without field names, so that a row without a
// permission does not compile.
type route struct {
	name       string // in logs and metrics
	path       string // see template
	element    pathElement
	protection protection
	permission auth.Permission
	methods    string // separated by spaces
	handle     handler
}

// routes returns the routes of every registry. Rows of one path stand together and share their
// name.
func routes() []route {
	const (
		catalog   = "/v2/_catalog"
		manifests = "/v2/{name}/manifests/{element}"
		uploads   = "/v2/{name}/blobs/uploads{/}"
		upload    = "/v2/{name}/blobs/uploads/{element}"
		blobs     = "/v2/{name}/blobs/{element}"
		tags      = "/v2/{name}/tags/list"
		referrers = "/v2/{name}/referrers/{element}"
	)
	return []route{
		{"manifest", manifests, elemReference, guarded, auth.Pull, "GET HEAD", (*API).getManifest},
		{"manifest", manifests, elemReference, guarded, auth.Push, "PUT", (*API).putManifest},
		{"manifest", manifests, elemReference, guarded, auth.Delete, "DELETE", (*API).deleteManifest},

		{routeUploads, uploads, elemNone, guarded, auth.Push, "POST", (*API).postUpload},

		{"upload", upload, elemUploadID, guarded, auth.Push, "GET", (*API).getUpload},
		{"upload", upload, elemUploadID, guarded, auth.Push, "PATCH", (*API).patchUpload},
		{"upload", upload, elemUploadID, guarded, auth.Push, "PUT", (*API).putUpload},
		{"upload", upload, elemUploadID, guarded, auth.Push, "DELETE", (*API).deleteUpload},

		{"blob", blobs, elemDigest, guarded, auth.Pull, "GET HEAD", (*API).getBlob},
		{"blob", blobs, elemDigest, guarded, auth.Delete, "DELETE", (*API).deleteBlob},

		{"tags", tags, elemNone, guarded, auth.Pull, "GET HEAD", (*API).listTags},
		{"referrers", referrers, elemDigest, guarded, auth.Pull, "GET HEAD", (*API).listReferrers},
		{"catalog", catalog, elemNone, guarded, auth.Catalog, "GET HEAD", (*API).listRepositories},

		{"ping", "/v2{/}", elemNone, guarded, auth.None, "GET HEAD", (*API).ping},
		{"livez", "/livez", elemHealthCheck, public, auth.None, "GET HEAD", (*API).livez},
		{"readyz", "/readyz", elemHealthCheck, public, auth.None, "GET HEAD", (*API).readyz},
		{"root", "{/}", elemHealthCheck, public, auth.None, "GET HEAD", (*API).root},
	}
}

// routeUploads is the name of the route that opens upload sessions and mounts blobs.
const routeUploads = "uploads"

// authRoutes returns the additional routes of a registry with an Auth.
func authRoutes() []route {
	const discovery = "/.well-known/openid-configuration"
	return []route{
		{"token", tokenPath, elemNone, public, auth.None, "GET", (*API).getToken},
		{"token", tokenPath, elemNone, public, auth.None, "POST", (*API).postToken},
		{"keys", jwksPath, elemNone, public, auth.None, "GET HEAD", (*API).getKeys},
		{"discovery", discovery, elemNone, public, auth.None, "GET HEAD", (*API).getDiscovery},
	}
}

// endpoint is a path with its operations.
type endpoint struct {
	name    string
	health  bool
	methods map[string]operation // by HTTP method
	allow   string               // value of the header field Allow
}

// operation is what one method of an endpoint does, with its metrics.
type operation struct {
	route
	meter *meter
}

// router finds the endpoint of a path. It neither redirects nor cleans paths.
type router struct {
	mux       *mux.Router
	endpoints map[string]*endpoint // by name
}

func newRouter(table []route, m *metrics) *router {
	rt := &router{
		mux:       mux.NewRouter(),
		endpoints: make(map[string]*endpoint),
	}
	for _, row := range table {
		ep := rt.endpoints[row.name]
		if ep == nil {
			ep = &endpoint{name: row.name, health: row.element == elemHealthCheck, methods: make(map[string]operation)}
			rt.endpoints[row.name] = ep
			rt.mux.NewRoute().MatcherFunc(parseTemplate(row.path).matchRequest).Name(row.name)
		}
		for method := range strings.FieldsSeq(row.methods) {
			ep.methods[method] = operation{row, m.meter(row.name, method)}
		}
	}
	for _, ep := range rt.endpoints {
		ep.allow = allowHeader(ep.methods)
	}
	return rt
}

// template is a pattern of escaped paths: {name} is the name of a repository, which may have
// slashes, {element} is the last element of the path, and {/} is an optional slash. A name may
// contain "/blobs/" too: a path is matched from its end, where the element has no slash, so the
// last "/blobs/" counts. It is cheaper than the regular expressions that mux makes of templates.
type template struct {
	before  string // fixed part before the name, or before the element where there is no name
	after   string // fixed part after the name
	name    bool
	element bool
	slash   bool
}

func parseTemplate(path string) (t template) {
	path, t.slash = strings.CutSuffix(path, "{/}")
	path, t.element = strings.CutSuffix(path, "{element}")
	t.before, t.after, t.name = strings.Cut(path, "{name}")
	return t
}

// match reports whether an escaped path matches, and returns the name and the element in it.
func (t template) match(path string) (name, element string, ok bool) {
	if t.slash {
		path = strings.TrimSuffix(path, "/")
	}
	if t.element {
		end := strings.LastIndexByte(path, '/') + 1
		path, element = path[:end], path[end:]
	}
	name, begins := strings.CutPrefix(path, t.before)
	name, ends := strings.CutSuffix(name, t.after)
	return name, element, begins && ends && (name != "") == t.name && (element != "") == t.element
}

// matchRequest is a mux.MatcherFunc.
func (t template) matchRequest(r *http.Request, m *mux.RouteMatch) bool {
	// The fixed parts have no escapes. This test is cheaper than EscapedPath.
	if !strings.HasPrefix(r.URL.Path, t.before) || !strings.Contains(r.URL.Path, t.after) {
		return false
	}
	name, element, ok := t.match(r.URL.EscapedPath())
	if ok {
		m.Vars = map[string]string{"name": name, "element": element}
	}
	return ok
}

func allowHeader(methods map[string]operation) string {
	var names []string
	for m := range methods {
		names = append(names, m)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// match returns the endpoint of a request's path, and the repository name and last element in it,
// still escaped. The endpoint is nil when no route matches.
//
// It calls Match instead of the mux's ServeHTTP, which would clone the request twice to put the
// variables into its context.
func (rt *router) match(r *http.Request) (ep *endpoint, name, last string) {
	var m mux.RouteMatch
	if !rt.mux.Match(r, &m) || m.Route == nil {
		return nil, "", ""
	}
	return rt.endpoints[m.Route.GetName()], m.Vars["name"], m.Vars["element"]
}

package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
)

// A handler answers a request that was routed, parsed and permitted. An error
// that it returns is answered for it; it may have set header fields before.
type handler func(a *API, w *web.Response, r *request) error

// element says what the last element of a path is.
type element int

const (
	nothing      element = iota
	aReference           // a tag or a digest
	aDigest              //
	anUploadID           //
	aHealthCheck         // no element; a path that monitors ask for all the time
)

// door says for whom a route is open.
type door int

const (
	guarded door = iota // for those who prove who they are, and have the permission
	public              // for everyone: it tells nothing of any repository, or asks who comes by itself
)

// route is one row of the table. The literals are written without field names,
// so that a row that forgets its permission does not compile.
type route struct {
	name       string // in logs and metrics
	path       string // see template
	element    element
	door       door
	permission auth.Permission
	methods    string // separated by spaces
	handle     handler
}

// routes is every request that is answered with more than an error. Rows of one
// path stand together and share their name.
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
		{"manifest", manifests, aReference, guarded, auth.Pull, "GET HEAD", (*API).getManifest},
		{"manifest", manifests, aReference, guarded, auth.Push, "PUT", (*API).putManifest},
		{"manifest", manifests, aReference, guarded, auth.Delete, "DELETE", (*API).deleteManifest},

		{routeUploads, uploads, nothing, guarded, auth.Push, "POST", (*API).postUpload},

		{"upload", upload, anUploadID, guarded, auth.Push, "GET", (*API).getUpload},
		{"upload", upload, anUploadID, guarded, auth.Push, "PATCH", (*API).patchUpload},
		{"upload", upload, anUploadID, guarded, auth.Push, "PUT", (*API).putUpload},
		{"upload", upload, anUploadID, guarded, auth.Push, "DELETE", (*API).deleteUpload},

		{"blob", blobs, aDigest, guarded, auth.Pull, "GET HEAD", (*API).getBlob},
		{"blob", blobs, aDigest, guarded, auth.Delete, "DELETE", (*API).deleteBlob},

		{"tags", tags, nothing, guarded, auth.Pull, "GET HEAD", (*API).listTags},
		{"referrers", referrers, aDigest, guarded, auth.Pull, "GET HEAD", (*API).listReferrers},
		{"catalog", catalog, nothing, guarded, auth.Catalog, "GET HEAD", (*API).listRepositories},

		{"ping", "/v2{/}", nothing, guarded, auth.None, "GET HEAD", (*API).ping},
		{"livez", "/livez", aHealthCheck, public, auth.None, "GET HEAD", (*API).livez},
		{"readyz", "/readyz", aHealthCheck, public, auth.None, "GET HEAD", (*API).readyz},
	}
}

// routeUploads is the name of the route that opens uploads, and mounts.
const routeUploads = "uploads"

// authRoutes is what a registry with users answers besides.
func authRoutes() []route {
	const discovery = "/.well-known/openid-configuration"
	return []route{
		{"token", tokenPath, nothing, public, auth.None, "GET", (*API).getToken},
		{"token", tokenPath, nothing, public, auth.None, "POST", (*API).postToken},
		{"keys", jwksPath, nothing, public, auth.None, "GET HEAD", (*API).getKeys},
		{"discovery", discovery, nothing, public, auth.None, "GET HEAD", (*API).getDiscovery},
	}
}

// endpoint is a path and what can be done there.
type endpoint struct {
	name    string
	health  bool
	methods map[string]operation
	allow   string // the value of Allow
}

// operation is an endpoint's answer to one method, with its metrics at hand.
type operation struct {
	route
	meter *meter
}

// router finds the endpoint of a path. It never redirects and never cleans.
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
			ep = &endpoint{name: row.name, health: row.element == aHealthCheck, methods: make(map[string]operation)}
			rt.endpoints[row.name] = ep
			rt.mux.NewRoute().MatcherFunc(parseTemplate(row.path).matchRequest).Name(row.name)
		}
		for method := range strings.FieldsSeq(row.methods) {
			ep.methods[method] = operation{row, m.meter(row.name, method)}
		}
	}
	for _, ep := range rt.endpoints {
		ep.allow = allowed(ep.methods)
	}
	return rt
}

// template is the form of a path, still escaped. {name} stands for the name of a repository, which
// may have slashes, {element} for the last element of the path, and {/} for a slash that may be left
// out. A path is cut from its end, since no slash follows in the element: the last "/blobs/" is the
// one that counts. That takes no regular expression, which is what mux makes of its own templates.
type template struct {
	before  string // the name, or all but the element where there is no name
	after   string // the name
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

// match reports whether a path has the form, and returns its parts.
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
	// Fixed parts have no escapes. To look for them is cheaper than to escape a path for each route.
	if !strings.HasPrefix(r.URL.Path, t.before) || !strings.Contains(r.URL.Path, t.after) {
		return false
	}
	name, element, ok := t.match(r.URL.EscapedPath())
	if ok {
		m.Vars = map[string]string{"name": name, "element": element}
	}
	return ok
}

func allowed(methods map[string]operation) string {
	var names []string
	for m := range methods {
		names = append(names, m)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// match returns the endpoint of a request's path and, still escaped, the name
// and the last element in it. The endpoint is nil where there is none.
//
// The mux is asked directly, not through its ServeHTTP, which would clone the
// request twice to put the variables into its context.
func (rt *router) match(r *http.Request) (ep *endpoint, name, last string) {
	var m mux.RouteMatch
	if !rt.mux.Match(r, &m) || m.Route == nil {
		return nil, "", ""
	}
	return rt.endpoints[m.Route.GetName()], m.Vars["name"], m.Vars["element"]
}

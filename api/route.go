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
	path       string // template of gorilla/mux
	hint       string // a part that every matching path has: cheaper to look for than the template is to match
	element    element
	door       door
	permission auth.Permission
	methods    string // separated by spaces
	handle     handler
}

// routes is every request that is answered with more than an error. Rows of one
// path stand together and share their name. A name matches loosely, and from
// the right: the last "/blobs/" in a path is the one that counts, because no slash
// may follow in the element. (Shortest first: a long digest is then scanned once.)
func routes() []route {
	const (
		catalog   = "/v2/_catalog"
		manifests = "/v2/{name:.+?}/manifests/{element:[^/]+}"
		uploads   = "/v2/{name:.+?}/blobs/uploads{slash:/?}"
		upload    = "/v2/{name:.+?}/blobs/uploads/{element:[^/]+}"
		blobs     = "/v2/{name:.+?}/blobs/{element:[^/]+}"
		tags      = "/v2/{name:.+?}/tags/list"
		referrers = "/v2/{name:.+?}/referrers/{element:[^/]+}"
	)
	return []route{
		{"manifest", manifests, "/manifests/", aReference, guarded, auth.Pull, "GET HEAD", (*API).getManifest},
		{"manifest", manifests, "/manifests/", aReference, guarded, auth.Push, "PUT", (*API).putManifest},
		{"manifest", manifests, "/manifests/", aReference, guarded, auth.Delete, "DELETE", (*API).deleteManifest},

		{routeUploads, uploads, "/blobs/uploads", nothing, guarded, auth.Push, "POST", (*API).postUpload},

		{"upload", upload, "/blobs/uploads/", anUploadID, guarded, auth.Push, "GET", (*API).getUpload},
		{"upload", upload, "/blobs/uploads/", anUploadID, guarded, auth.Push, "PATCH", (*API).patchUpload},
		{"upload", upload, "/blobs/uploads/", anUploadID, guarded, auth.Push, "PUT", (*API).putUpload},
		{"upload", upload, "/blobs/uploads/", anUploadID, guarded, auth.Push, "DELETE", (*API).deleteUpload},

		{"blob", blobs, "/blobs/", aDigest, guarded, auth.Pull, "GET HEAD", (*API).getBlob},
		{"blob", blobs, "/blobs/", aDigest, guarded, auth.Delete, "DELETE", (*API).deleteBlob},

		{"tags", tags, "/tags/list", nothing, guarded, auth.Pull, "GET HEAD", (*API).listTags},
		{"referrers", referrers, "/referrers/", aDigest, guarded, auth.Pull, "GET HEAD", (*API).listReferrers},
		{"catalog", catalog, catalog, nothing, guarded, auth.Catalog, "GET HEAD", (*API).listRepositories},

		{"ping", "/v2{slash:/?}", "/v2", nothing, guarded, auth.None, "GET HEAD", (*API).ping},
		{"livez", "/livez", "/livez", aHealthCheck, public, auth.None, "GET HEAD", (*API).livez},
		{"readyz", "/readyz", "/readyz", aHealthCheck, public, auth.None, "GET HEAD", (*API).readyz},
	}
}

// routeUploads is the name of the route that opens uploads, and mounts.
const routeUploads = "uploads"

// authRoutes is what a registry with users answers besides.
func authRoutes() []route {
	const discovery = "/.well-known/openid-configuration"
	return []route{
		{"token", tokenPath, tokenPath, nothing, public, auth.None, "GET", (*API).getToken},
		{"token", tokenPath, tokenPath, nothing, public, auth.None, "POST", (*API).postToken},
		{"keys", jwksPath, jwksPath, nothing, public, auth.None, "GET HEAD", (*API).getKeys},
		{"discovery", discovery, discovery, nothing, public, auth.None, "GET HEAD", (*API).getDiscovery},
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
	// The flags must be set before the first route, which copies them.
	rt := &router{
		mux:       mux.NewRouter().UseEncodedPath().SkipClean(true).StrictSlash(false),
		endpoints: make(map[string]*endpoint),
	}
	for _, row := range table {
		ep := rt.endpoints[row.name]
		if ep == nil {
			ep = &endpoint{name: row.name, health: row.element == aHealthCheck, methods: make(map[string]operation)}
			rt.endpoints[row.name] = ep
			rt.mux.NewRoute().MatcherFunc(contains(row.hint)).Path(row.path).Name(row.name)
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

// contains is a matcher that spares most routes their regular expression: what
// the template matches in the escaped path, the decoded one contains.
func contains(hint string) mux.MatcherFunc {
	return func(r *http.Request, _ *mux.RouteMatch) bool { return strings.Contains(r.URL.Path, hint) }
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

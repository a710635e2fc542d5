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
type pathElement int

const (
	elemNone        pathElement = iota
	elemReference               // a tag or a digest
	elemDigest                  //
	elemUploadID                //
	elemHealthCheck             // no element; a path that monitors ask for all the time
)

// door says for whom a route is open.
type protection int

const (
	guarded protection = iota // for those who prove who they are, and have the permission
	public                    // for everyone: it tells nothing of any repository, or asks who comes by itself
)

// route is one row of the table. The literals are written without field names,
// so that a row that forgets its permission does not compile.
type route struct {
	name       string // in logs and metrics
	path       string // template of gorilla/mux
	substring  string // a part that every matching path has: cheaper to look for than the template is to match
	element    pathElement
	protection protection
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
		{"manifest", manifests, "/manifests/", elemReference, guarded, auth.Pull, "GET HEAD", (*API).getManifest},
		{"manifest", manifests, "/manifests/", elemReference, guarded, auth.Push, "PUT", (*API).putManifest},
		{"manifest", manifests, "/manifests/", elemReference, guarded, auth.Delete, "DELETE", (*API).deleteManifest},

		{routeUploads, uploads, "/blobs/uploads", elemNone, guarded, auth.Push, "POST", (*API).postUpload},

		{"upload", upload, "/blobs/uploads/", elemUploadID, guarded, auth.Push, "GET", (*API).getUpload},
		{"upload", upload, "/blobs/uploads/", elemUploadID, guarded, auth.Push, "PATCH", (*API).patchUpload},
		{"upload", upload, "/blobs/uploads/", elemUploadID, guarded, auth.Push, "PUT", (*API).putUpload},
		{"upload", upload, "/blobs/uploads/", elemUploadID, guarded, auth.Push, "DELETE", (*API).deleteUpload},

		{"blob", blobs, "/blobs/", elemDigest, guarded, auth.Pull, "GET HEAD", (*API).getBlob},
		{"blob", blobs, "/blobs/", elemDigest, guarded, auth.Delete, "DELETE", (*API).deleteBlob},

		{"tags", tags, "/tags/list", elemNone, guarded, auth.Pull, "GET HEAD", (*API).listTags},
		{"referrers", referrers, "/referrers/", elemDigest, guarded, auth.Pull, "GET HEAD", (*API).listReferrers},
		{"catalog", catalog, catalog, elemNone, guarded, auth.Catalog, "GET HEAD", (*API).listRepositories},

		{"ping", "/v2{slash:/?}", "/v2", elemNone, guarded, auth.None, "GET HEAD", (*API).ping},
		{"livez", "/livez", "/livez", elemHealthCheck, public, auth.None, "GET HEAD", (*API).livez},
		{"readyz", "/readyz", "/readyz", elemHealthCheck, public, auth.None, "GET HEAD", (*API).readyz},
	}
}

// routeUploads is the name of the route that opens uploads, and mounts.
const routeUploads = "uploads"

// authRoutes is what a registry with users answers besides.
func authRoutes() []route {
	const discovery = "/.well-known/openid-configuration"
	return []route{
		{"token", tokenPath, tokenPath, elemNone, public, auth.None, "GET", (*API).getToken},
		{"token", tokenPath, tokenPath, elemNone, public, auth.None, "POST", (*API).postToken},
		{"keys", jwksPath, jwksPath, elemNone, public, auth.None, "GET HEAD", (*API).getKeys},
		{"discovery", discovery, discovery, elemNone, public, auth.None, "GET HEAD", (*API).getDiscovery},
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
			ep = &endpoint{name: row.name, health: row.element == elemHealthCheck, methods: make(map[string]operation)}
			rt.endpoints[row.name] = ep
			rt.mux.NewRoute().MatcherFunc(pathContains(row.substring)).Path(row.path).Name(row.name)
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

// contains is a matcher that spares most routes their regular expression: what
// the template matches in the escaped path, the decoded one contains.
func pathContains(hint string) mux.MatcherFunc {
	return func(r *http.Request, _ *mux.RouteMatch) bool { return strings.Contains(r.URL.Path, hint) }
}

func allowHeader(methods map[string]operation) string {
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

package conformance

import (
	"net/http"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestHTTPLibraries uses the HTTP libraries that scripts in Python and Node use: each pushes and
// pulls in a registry with users, and reads the answers with the most header fields and the longest
// ones, for which these libraries have limits. The scripts check what they read.
func TestHTTPLibraries(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	for _, l := range []struct {
		name, agent string
		args        []string
		client      func(testing.TB) client
	}{
		{"python_http", "", []string{"testdata/http/client.py", "http"}, python},
		{"python_urllib", "Python-urllib/", []string{"testdata/http/client.py", "urllib"}, python},
		{"python_requests", "python-requests/", []string{"testdata/http/client.py", "requests"}, python},
		{"node_http", "", []string{"testdata/http/client.mjs", "http"}, node},
		{"node_fetch", "", []string{"testdata/http/client.mjs", "fetch"}, node},
	} {
		g.row(t, l.name, func(t *testing.T) {
			repo := "alice/" + l.name
			l.client(t).feed([]byte(g.alice.password), append(l.args, g.URL, "alice", repo)...)
			g.requireRequest(l.agent, "PUT", repo+"/b", "", http.StatusCreated)
			if _, doc := g.manifest(repo+"/b", "v1"); len(doc.Layers) != 1 {
				t.Errorf("%s pushed %+v", l.name, doc)
			}
		})
	}
}

// python returns Debian's Python, for which Debian's packages of modules are installed.
func python(t testing.TB) client {
	t.Helper()
	c := direct(debianClient(t, "/usr/bin/python3", "python3"))
	if _, err := c.try(nil, "-c", "import requests"); err != nil {
		testserver.SkipOrFail(t, "python3 has no module requests (Debian package python3-requests)")
	}
	return c
}

func node(t testing.TB) client {
	t.Helper()
	return direct(debianClient(t, "node", "nodejs"))
}

// direct returns the client without the proxy of the environment, which some libraries use for
// loopback addresses too.
func direct(c client) client {
	c.env = append(c.env, "NO_PROXY=*", "no_proxy=*")
	return c
}

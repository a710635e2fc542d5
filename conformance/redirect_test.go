package conformance

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// redirecting returns the options of a server on S3 that redirects clients to a proxy of the store,
// under another host name than the server's. Like AWS, the proxy refuses signed URLs that come with
// Authorization. served is the number of signed URLs that were served.
func redirecting(t *testing.T) (o options, served *atomic.Int64) {
	t.Helper()
	bucketURL := testserver.S3(t)
	_, endpoint, _ := strings.Cut(bucketURL, "endpoint=")
	store, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	served = new(atomic.Int64)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(store)
		r.Out.Host = r.In.Host // it is signed
	}}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !r.URL.Query().Has("X-Amz-Signature"):
			t.Errorf("not signed: %s %s", r.Method, r.URL.Path)
		case r.Header.Get("Authorization") != "":
			t.Errorf("%s sent Authorization to the store", r.UserAgent())
			http.Error(w, "Only one auth mechanism allowed", http.StatusBadRequest)
			return
		default:
			served.Add(1)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	_, port, err := net.SplitHostPort(proxy.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return options{Env: []string{
		fmt.Sprintf("BERTH_STORAGE_BUCKET=%s&public_endpoint=http://localhost:%s", bucketURL, port),
		"BERTH_STORAGE_REDIRECT_ENABLED=true", "BERTH_STORAGE_REDIRECT_MIN_SIZE=0",
	}}, served
}

// TestRedirects pulls with clients that have logged in, through redirects to another host name.
func TestRedirects(t *testing.T) {
	t.Parallel()
	o, served := redirecting(t)
	g := startAuthServer(t, o)
	repo := g.Addr + "/alice/redirect"
	l := newImageLayout(t, 3<<20)
	credentials := g.alice.name + ":" + g.alice.password

	skopeo := containersClient(t, "skopeo", g.server)
	skopeo.run("copy", "--dest-creds", credentials, "oci:"+l.dir, "docker://"+repo+":1")
	crane := goClient(t, clientModule, "github.com/google/go-containerregistry/cmd/crane")
	crane.run("auth", "login", "-u", g.alice.name, "-p", g.alice.password, g.Addr)
	oras := goClient(t, clientModule, "oras.land/oras/cmd/oras")
	podman := containersClient(t, "podman", g.server)
	for name, pull := range map[string]func(){
		"skopeo": func() {
			skopeo.run("copy", "--src-creds", credentials, "docker://"+repo+":1", "dir:"+filepath.Join(t.TempDir(), "image"))
		},
		"podman": func() { podman.run("pull", "--creds", credentials, repo+":1") },
		"crane": func() {
			crane.run("pull", repo+":1", filepath.Join(crane.home, "image.tar"))
			crane.run("validate", "--remote", repo+":1")
		},
		"oras": func() {
			oras.run("copy", "--from-plain-http", "--from-username", g.alice.name, "--from-password", g.alice.password,
				"--to-oci-layout", repo+":1", filepath.Join(oras.home, "layout")+":1")
		},
	} {
		before := served.Load()
		pull()
		if served.Load() < before+2 { // the layer and the configuration
			t.Errorf("%s was served %d signed URLs", name, served.Load()-before)
		}
	}
	for _, line := range g.Log() {
		if strings.Contains(line.Raw, "X-Amz") {
			t.Errorf("a signed URL in the log: %s", line.Raw)
		}
	}
}

package conformance

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// slowProxy starts a proxy in front of a registry. It forwards the client's Host, and calls hold
// before it returns the answer to a POST that opens an upload.
func slowProxy(t *testing.T, target string, hold func(repository string)) (addr string) {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			repository, isOpen := strings.CutSuffix(strings.TrimPrefix(r.Request.URL.Path, "/v2/"), "/blobs/uploads/")
			if isOpen && r.Request.Method == http.MethodPost && r.StatusCode == http.StatusAccepted {
				hold(repository)
			}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0), // clients may disconnect
	}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// gates hold the first answer of each repository, and all that come meanwhile, until a token that
// was fetched before has expired.
type gates struct {
	mu   sync.Mutex
	open map[string]chan struct{}
}

// untilTokenDead is longer than the shortest lifetime of a token, a minute, plus the minute by
// which clocks may differ.
const untilTokenDead = 130 * time.Second

func (g *gates) hold(repository string) {
	g.mu.Lock()
	gate := g.open[repository]
	if gate == nil {
		gate = make(chan struct{})
		g.open[repository] = gate
		time.AfterFunc(untilTokenDead, func() { close(gate) })
	}
	g.mu.Unlock()
	<-gate
}

// pusher is a client that can push an image of 10 MiB with one command.
type pusher struct {
	client
	agent string
	repo  string
	args  []string
}

// pushers makes clients that use alice's credentials with a registry at addr.
type pushers struct {
	g     *authServer
	addr  string
	image layout
}

func (p pushers) ref(repo string) string { return p.addr + "/" + repo + ":1" }

func (p pushers) oras() pusher {
	c := goClient(p.g.t, clientModule, orasPackage)
	c.login(p.addr, p.g.alice)
	return pusher{c, "oras/", "alice/oras", []string{"cp", "--from-oci-layout", p.image.dir + ":latest", "--to-plain-http", p.ref("alice/oras")}}
}

func (p pushers) crane() pusher {
	c := goClient(p.g.t, clientModule, cranePackage)
	c.login(p.addr, p.g.alice)
	return pusher{c, "crane/", "alice/crane", []string{"push", p.image.dir, p.ref("alice/crane")}}
}

func (p pushers) regctl() pusher {
	c := goClient(p.g.t, clientModule, regctlPackage)
	c.login(p.addr, p.g.alice)
	c.run("registry", "set", "--tls", "disabled", "--skip-check", p.addr)
	return pusher{c, "regclient/regctl", "alice/regctl", []string{"image", "copy", "ocidir://" + p.image.dir + ":latest", p.ref("alice/regctl")}}
}

func (p pushers) skopeo() pusher {
	c := containersClient(p.g.t, "skopeo", p.g.server)
	args := []string{"copy", "--dest-tls-verify=false", "--dest-creds", p.g.alice.name + ":" + p.g.alice.password,
		"oci:" + p.image.dir + ":latest", "docker://" + p.ref("alice/skopeo")}
	return pusher{c, "skopeo/", "alice/skopeo", args}
}

func (p pushers) docker(d docker) pusher {
	d = d.fresh()
	d.login(p.addr, p.g.alice)
	layer := d.write("layer.tar", tarball(p.g.t, "content", randomBytes(p.g.t, 10<<20)))
	d.run("import", layer, p.ref("alice/docker"))
	return pusher{d.client, "docker/", "alice/docker", []string{"push", p.ref("alice/docker")}}
}

func (p pushers) ctr(d docker) pusher {
	c := d.ctr()
	c.run("images", "import", "--no-unpack", "--index-name", p.ref("alice/ctr"), p.image.archive(c, "image.tar"))
	return pusher{c, "containerd/", "alice/ctr", []string{"images", "push", "--plain-http", "--user", p.g.alice.name + ":" + p.g.alice.password, p.ref("alice/ctr")}}
}

// pushAll runs all pushes at the same time and returns their results.
func pushAll(all []pusher) []error {
	ended := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { _, ended[i] = p.try(nil, p.args...) })
	}
	wg.Wait()
	return ended
}

// TestAuthExpiry lets tokens expire between the request that opens an upload and those that send
// its bytes: row 29 of the table. The caller that opened the upload may still finish it. Without
// that grace, clients would fail that fetch a new token only after a 401, because they cannot send
// the body again.
func TestAuthExpiry(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	image := newImageLayout(t, 10<<20)
	start := func(args ...string) pushers {
		g := startAuthServer(t, options{Args: append(args, "--auth-token-ttl", "1m")})
		held := &gates{open: map[string]chan struct{}{}}
		return pushers{g, slowProxy(t, g.URL, held.hold), image}
	}
	graceful, strict := start(), start("--auth-upload-grace", "0s")
	good := []pusher{graceful.oras(), graceful.crane(), graceful.ctr(d), graceful.regctl(), graceful.skopeo(), graceful.docker(d)}
	bad := []pusher{strict.oras(), strict.crane()}
	ended := pushAll(append(good, bad...))

	for i, p := range good {
		graceful.g.row(t, "row29_"+strings.TrimPrefix(p.repo, "alice/"), func(t *testing.T) {
			if ended[i] != nil {
				t.Error(ended[i])
			}
			graceful.g.manifest(p.repo, "1")
			ph := phase{g: graceful.g, agent: p.agent}
			ph.has("POST uploads "+p.repo+" 202", "PUT upload "+p.repo+" 201", "PUT manifest "+p.repo+" 201", "write user:alice PUT manifest "+p.repo)
			ph.hasTimes(0, "PATCH upload "+p.repo+" 401")
			ph.hasTimes(0, "PUT upload "+p.repo+" 401")
		})
	}
	for i, p := range bad {
		strict.g.row(t, "row29_without_grace_"+strings.TrimPrefix(p.repo, "alice/"), func(t *testing.T) {
			var exit *exec.ExitError
			if !errors.As(ended[len(good)+i], &exit) || exit.ExitCode() != 1 {
				t.Errorf("with a token that died, and no grace, it ended with %v", ended[len(good)+i])
			}
			ph := phase{g: strict.g, agent: p.agent}
			ph.has("POST uploads "+p.repo+" 202", "denied push "+p.repo)
			ph.hasNone("PUT manifest " + p.repo)
		})
	}
}

// TestAuthUserRemoved removes a user during a push: row 33 of the table. The next request is
// refused.
func TestAuthUserRemoved(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	var once sync.Once
	removed := make(chan error, 1)
	addr := slowProxy(t, g.URL, func(string) {
		once.Do(func() {
			_, err := feed("", nil, nil, berthBinary(t), "user", "remove", "bob", "--data", g.Data)
			removed <- err
		})
	})
	c := goClient(t, clientModule, cranePackage)
	c.login(addr, g.bob)
	image := newImageLayout(t, 1<<20)
	g.row(t, "row33_removed_in_mid_push", func(t *testing.T) {
		p := g.phase("crane/")
		requireSays(t, c.withTest(t).refused(1, "", "push", image.dir, addr+"/bob/app:1"), "UNAUTHORIZED")
		if err := <-removed; err != nil {
			t.Fatal(err)
		}
		p.inOrder("token user:bob repository:bob/app:pull,push", "POST uploads bob/app 202", "PATCH upload bob/app 401")
		p.has("denied user:bob push bob/app")
		p.hasNone("PUT manifest")
		p = g.phase("crane/")
		requireSays(t, c.withTest(t).refused(1, "", "digest", addr+"/bob/app:1"), "UNAUTHORIZED")
		p.has("login refused", "GET token 401")
	})
}

package conformance

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/testserver"
)

// docker is the docker command with its own daemon, separate from any engine on the machine.
type docker struct {
	client
	engine     []string // environment that selects the engine, for other programs
	containerd string   // socket of the engine's containerd
}

// fresh returns a docker command for the same engine that is not logged in.
func (d docker) fresh() docker {
	d.client = newClient(d.t, d.path)
	d.env = append(slices.Clone(d.engine), d.env...) // the last DOCKER_CONFIG counts
	return d
}

// withTest returns the docker command for use in another test.
func (d docker) withTest(t testing.TB) docker {
	d.t = t
	return d
}

// startDocker starts a Docker Engine on a private socket with its data in a temporary directory. It
// stops at the end of the test. env is added to its environment.
func startDocker(t *testing.T, env ...string) docker {
	t.Helper()
	c := debianClient(t, "docker", "docker.io")
	daemon := debianClient(t, "dockerd", "docker.io")
	if os.Getuid() != 0 {
		testserver.SkipOrFail(t, "dockerd needs root")
	}
	dir := daemonDir(t, "berth-docker-")
	config := filepath.Join(dir, "daemon.json")
	if err := os.WriteFile(config, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	args := []string{
		"--config-file", config, "--host", socket, "--pidfile", filepath.Join(dir, "docker.pid"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false", "--userland-proxy=false", "--log-level=warn",
	}
	if onOverlay(t, dir) {
		// overlay2 does not work on an overlay, which the file system of a container is.
		args = append(args, "--storage-driver=vfs")
	}
	cmd := exec.Command(daemon.path, args...)
	cmd.Env = append(os.Environ(), env...)
	ended := startDaemon(t, cmd)
	d := docker{client: c, engine: []string{"DOCKER_HOST=" + socket, "DOCKER_BUILDKIT=0", "DOCKER_CONFIG=" + c.home}}
	d.containerd = filepath.Join(dir, "exec", "containerd", "containerd.sock")
	d.env = append(d.env, d.engine...)
	if err := awaitUp(ended, func() error { _, err := tryRun(t, d.env, d.path, "version"); return err }); err != nil {
		t.Fatalf("dockerd does not answer: %v", err)
	}
	return d
}

// daemonDir makes a directory for the sockets and the data of a daemon, and removes it after the
// test.
func daemonDir(t *testing.T, prefix string) string {
	t.Helper()
	// The path of a socket must be shorter than that of a test's directory may be.
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmountBelow(t, dir) // dockerd leaves the network namespaces of its containers mounted
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("the daemon left something behind: %v", err)
		}
	})
	return dir
}

// startDaemon starts a daemon, which ends with the test. The channel gets its result.
func startDaemon(t *testing.T, cmd *exec.Cmd) (ended chan error) {
	t.Helper()
	name := filepath.Base(cmd.Path)
	// SIGKILL would leave its children and its mounts behind.
	cmd.SysProcAttr = stopWithParent()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if t.Failed() {
				t.Logf("%s ended: %v\n%s", name, err, log.String())
			}
		case <-time.After(time.Minute):
			t.Errorf("%s did not end after SIGTERM", name)
			_ = cmd.Process.Kill()
		}
	})
	return ended
}

// runs requires that a container of the image prints the expected text.
func (d docker) runs(ref string, i buildContext) {
	d.t.Helper()
	if got := d.run("run", "--rm", "--network", "none", ref); got != i.prints {
		d.t.Errorf("%s prints\n%s\nexpected\n%s", ref, got, i.prints)
	}
}

// TestDocker uses a Docker Engine: it builds, pushes, removes, pulls and runs an image.
func TestDocker(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	s := startBerth(t, options{})
	i := newContext(t)
	const agent = "docker/"
	ref := s.Addr + "/team/app:1"

	d.run("build", "--tag", ref, i.dir)
	d.run("push", ref)
	s.requirePush(agent, "team/app", "1")
	s.requireRequest(agent, "PATCH", "team/app", "", http.StatusAccepted)
	digest, doc := s.manifest("team/app", "1")
	if doc.MediaType != "application/vnd.docker.distribution.manifest.v2+json" || len(doc.Layers) != 4 {
		t.Fatalf("docker pushed a %s of %d layers", doc.MediaType, len(doc.Layers))
	}

	d.run("rmi", ref)
	d.fails("run", "--rm", "--pull=never", ref)
	d.run("pull", ref)
	s.requireRequest(agent, "GET", "team/app", doc.Layers[2].Digest, http.StatusOK)
	d.runs(ref, i)
	byDigest := s.Addr + "/team/app@" + digest
	if got := d.run("inspect", "--format", "{{index .RepoDigests 0}}", ref); got != byDigest {
		t.Errorf("docker says %s, the server %s", got, byDigest)
	}

	// Layers that the server has are not sent again.
	if out := d.run("push", ref); strings.Count(out, "Layer already exists") != 4 {
		t.Errorf("a second push did not find its 4 layers:\n%s", out)
	}
	s.requireRequest(agent, "HEAD", "team/app", doc.Layers[0].Digest, http.StatusOK)

	// Another repository of the same registry mounts the layers.
	other := s.Addr + "/team/other/deep/er:2"
	d.run("tag", ref, other)
	if out := d.run("push", other); strings.Count(out, "Mounted from team/app") != 4 {
		t.Errorf("docker did not mount its 4 layers:\n%s", out)
	}
	s.requirePush(agent, "team/other/deep/er", "2") // the config is always sent
	for _, l := range doc.Layers {
		if s.status("/v2/team/other/deep/er/blobs/"+l.Digest) != http.StatusOK {
			t.Errorf("%s was not mounted", l.Digest)
		}
	}

	d.run("rmi", "--force", ref, other)
	d.run("pull", byDigest)
	d.runs(byDigest, i)
	d.run("rmi", "--force", byDigest)
	d.run("pull", "--all-tags", s.Addr+"/team/other/deep/er")
	d.runs(other, i)
	if out := d.fails("pull", s.Addr+"/team/app:none"); !strings.Contains(out, "not found") && !strings.Contains(out, "manifest unknown") {
		t.Errorf("docker says of a tag that does not exist: %s", out)
	}
	s.requireNoRefusal()
}

// TestDockerManifestList combines two images in a manifest list.
func TestDockerManifestList(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	s := startBerth(t, options{})
	i := newContext(t)
	repo := s.Addr + "/multi/arch"
	args := []string{"manifest", "create", "--insecure", repo + ":all"}
	for _, arch := range []string{"amd64", "arm64"} {
		ref := repo + ":" + arch
		d.run("build", "--platform", "linux/"+arch, "--tag", ref, i.dir)
		d.run("push", ref)
		args = append(args, ref)
	}
	d.env = append(d.env, "DOCKER_CLI_EXPERIMENTAL=enabled")
	d.run(args...)
	d.run("manifest", "annotate", "--arch", "arm64", repo+":all", repo+":arm64")
	digest := d.run("manifest", "push", "--insecure", repo+":all")
	got, doc := s.manifest("multi/arch", "all")
	if got != digest || doc.MediaType != "application/vnd.docker.distribution.manifest.list.v2+json" || len(doc.Manifests) != 2 {
		t.Fatalf("docker pushed %s, the server has %s, a %s of %d", digest, got, doc.MediaType, len(doc.Manifests))
	}
	d.run("rmi", "--force", repo+":amd64", repo+":arm64")
	d.run("pull", repo+":all")
	d.runs(repo+":all", i)
	s.requireRequest("docker/", "GET", "multi/arch", doc.Manifests[0].Digest, http.StatusOK)
	s.requireNoRefusal()
}

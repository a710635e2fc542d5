package conformance

import (
	"crypto/rand"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestImage builds Berth's image as `make image` does. It runs it with the user that the first
// start makes, and open to everyone.
func TestImage(t *testing.T) {
	d := startDocker(t)
	if _, err := exec.LookPath("make"); err != nil {
		testserver.SkipOrFail(t, "make is not installed")
	}
	const image = "berth-conformance:test"
	run(t, d.engine, "make", "-C", "..", "image", "IMAGE="+image)
	if got := d.run("inspect", "--format", "{{.Config.User}}", image); got != "65532:65532" {
		t.Errorf("the image runs as %q", got)
	}

	t.Run("users", func(t *testing.T) {
		c := d.withTest(t).start(image, "users")
		if logs := c.run("logs", "registry"); logs != "" {
			t.Errorf("where nobody reads it, the image prints %s", logs)
		}
		password := rand.Text()
		login := []string{"login", "--username", "admin", "--password-stdin", c.addr}
		requireSays(t, c.refused(1, password, login...), "unauthorized: ")
		c.feed([]byte(password), "exec", "--interactive", "registry", "/berth", "user", "passwd", "admin", "--password-stdin")
		c.feed([]byte(password), login...)
		c.requirePushPull(image, basic{account{"admin", password}, http.DefaultTransport})
	})

	t.Run("open", func(t *testing.T) {
		c := d.withTest(t).start(image, "open", "BERTH_AUTH_MODE=none")
		c.requirePushPull(image, http.DefaultTransport)
		c.run("stop", "--time", "60", "registry")
		// A registry with data does not start beyond loopback without users.
		if out := c.fails("run", "--rm", "--network", "host", "--volume", "open:/data", "--env", "BERTH_HTTP_ADDR=0.0.0.0:0", image); !strings.Contains(out, "auth.mode") {
			t.Errorf("with data, without users and on every address, the image says: %s", out)
		}
	})
}

// container is a registry in a container with the name "registry".
type container struct {
	docker
	addr string
}

// start runs the image on every address with a volume and an environment, and waits until it is
// healthy. The container uses the host's network, because the test's engine has no bridge.
func (d docker) start(image, volume string, env ...string) container {
	d.t.Helper()
	_, port, err := net.SplitHostPort(testserver.FreeAddr(d.t))
	if err != nil {
		d.t.Fatal(err)
	}
	args := []string{"run", "--detach", "--name", "registry", "--network", "host", "--volume", volume + ":/data"}
	for _, e := range append(env, "BERTH_HTTP_ADDR=0.0.0.0:"+port) {
		args = append(args, "--env", e)
	}
	d.run(append(args, image)...)
	d.t.Cleanup(func() { d.run("rm", "--force", "registry") })
	const healthy = "running healthy"
	var health string
	poll(time.Minute, func() bool {
		health = d.run("inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", "registry")
		return health == healthy || strings.HasPrefix(health, "exited")
	})
	if health != healthy {
		logs, _ := tryRun(d.t, d.env, d.path, "logs", "registry")
		d.t.Fatalf("the container is %s\n%s", health, logs)
	}
	return container{d, "127.0.0.1:" + port}
}

// requirePushPull requires that Berth in a container accepts its own image, and has it after a
// restart.
func (c container) requirePushPull(image string, as http.RoundTripper) {
	c.t.Helper()
	c.run("tag", image, c.addr+"/berth:1")
	c.run("push", c.addr+"/berth:1")
	c.run("stop", "--time", "60", "registry")
	if code := c.run("inspect", "--format", "{{.State.ExitCode}}", "registry"); code != "0" {
		c.t.Errorf("docker stop: exit status %s", code)
	}
	c.run("start", "registry")
	client := &http.Client{Transport: as}
	var resp *http.Response
	var err error
	if !poll(time.Minute, func() bool {
		resp, err = client.Get("http://" + c.addr + "/v2/berth/manifests/1")
		return err == nil
	}) {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		c.t.Errorf("after a restart, the image's manifest answers %s", resp.Status)
	}
}

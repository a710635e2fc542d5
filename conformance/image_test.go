package conformance

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestImage builds Berth's own image as `make image` does, and runs it: as the
// README says, without the permission to listen everywhere, and until it is told
// to stop.
func TestImage(t *testing.T) {
	d := startDocker(t)
	if _, err := exec.LookPath("make"); err != nil {
		missing(t, "make is not installed")
	}
	const image = "berth-conformance:test"
	run(t, d.engine, "make", "-C", "..", "image", "IMAGE="+image)
	if got := d.run("inspect", "--format", "{{.Config.User}}", image); got != "65532:65532" {
		t.Errorf("the image runs as %q", got)
	}
	if out := d.fails("run", "--rm", "--network", "host", image); !strings.Contains(out, "auth.mode") {
		t.Errorf("without users and on every address, the image says: %s", out)
	}

	// The test's engine has no bridge, so the container shares the host's network.
	addr := freeAddr(t)
	d.run("run", "--detach", "--name", "registry", "--network", "host", "--volume", "berth:/data",
		"--env", "BERTH_AUTH_MODE=none", "--env", "BERTH_HTTP_ADDR="+addr, image)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		health := d.run("inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", "registry")
		if health == "running healthy" {
			break
		}
		if time.Now().After(deadline) || strings.HasPrefix(health, "exited") {
			logs, _ := tryRun(t, d.env, d.path, "logs", "registry")
			t.Fatalf("the container is %s\n%s", health, logs)
		}
	}

	// Berth in a container takes its own image, and has it after a restart.
	d.run("tag", image, addr+"/berth:1")
	d.run("push", addr+"/berth:1")
	d.run("stop", "--time", "60", "registry")
	if code := d.run("inspect", "--format", "{{.State.ExitCode}}", "registry"); code != "0" {
		t.Errorf("docker stop: exit status %s", code)
	}
	d.run("start", "registry")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/v2/berth/manifests/1")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("after a restart, the image's manifest answers %s", resp.Status)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	d.run("rm", "--force", "registry")
}

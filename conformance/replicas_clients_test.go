package conformance

import (
	"os"
	"path/filepath"
	"testing"
)

// TestReplicasClients pushes an image through nginx to three replicas with each client, and pulls
// it. Each client's requests go to all replicas in turn.
func TestReplicasClients(t *testing.T) {
	t.Parallel()
	r := startReplicas(t, 3, sharedStores(t))
	l := newLayout(t)
	for _, c := range []struct {
		name, agent string
		use         func(t *testing.T, r *replicas, l layout, ref string)
	}{
		{"crane", "crane/", craneThrough}, {"regctl", "regclient/regctl", regctlThrough},
		{"oras", "oras/", orasThrough}, {"skopeo", "skopeo/", skopeoThrough},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.use(t, r, l, r.Addr+"/clients/"+c.name+":1")
			r.requireShared(t, c.agent, "clients/"+c.name)
			r.requireLayout("clients/"+c.name, "1", l)
		})
	}
	t.Run("podman", func(t *testing.T) { podmanThrough(t, r) })
	t.Run("docker", func(t *testing.T) { dockerThrough(t, r) })
}

func craneThrough(t *testing.T, r *replicas, l layout, ref string) {
	c := goClient(t, clientModule, cranePackage)
	c.run("push", "--index", l.dir, ref+"-wrapped")
	c.run("tag", r.Addr+"/clients/crane@"+l.digest, "1")
	c.run("validate", "--remote", ref)
	c.run("pull", "--format", "oci", ref, filepath.Join(c.home, "out"))
}

func regctlThrough(t *testing.T, r *replicas, l layout, ref string) {
	c := goClient(t, clientModule, regctlPackage)
	c.env = append(c.env, "REGCTL_CONFIG="+filepath.Join(c.home, "regctl.json"))
	c.run("registry", "set", "--tls", "disabled", r.Addr)
	c.run("image", "copy", "ocidir://"+l.dir+":latest", ref)
	c.run("image", "copy", ref, "ocidir://"+filepath.Join(c.home, "out")+":1")
}

func orasThrough(t *testing.T, _ *replicas, l layout, ref string) {
	c := goClient(t, clientModule, orasPackage)
	c.run("cp", "--from-oci-layout", l.dir+":latest", "--to-plain-http", ref)
	c.run("cp", "--from-plain-http", ref, "--to-oci-layout", filepath.Join(c.home, "out")+":1")
}

func skopeoThrough(t *testing.T, r *replicas, l layout, ref string) {
	c := containersClient(t, "skopeo", r.server)
	c.run("copy", "--all", "oci:"+l.dir+":latest", "docker://"+ref)
	c.run("copy", "--all", "docker://"+ref, "oci:"+filepath.Join(c.home, "out")+":1")
}

func podmanThrough(t *testing.T, r *replicas) {
	p := containersClient(t, "podman", r.server)
	i, ref := newContext(t), r.Addr+"/clients/podman:1"
	p.run("build", "--layers", "--tag", ref, i.dir)
	p.run("push", ref)
	p.run("rmi", ref)
	p.run("pull", ref)
	if got := p.run("run", "--rm", "--network", "none", "--ulimit", "host", ref); got != i.prints {
		t.Errorf("%s prints\n%s\nexpected\n%s", ref, got, i.prints)
	}
	r.requireShared(t, "containers/", "clients/podman")
}

func dockerThrough(t *testing.T, r *replicas) {
	d := startDocker(t)
	ref := r.Addr + "/clients/docker:1"
	d.run("import", d.write("layer.tar", tarball(t, "content", randomBytes(t, 5<<20))), ref)
	d.run("push", ref)
	d.run("rmi", ref)
	d.run("pull", ref)
	d.run("save", "--output", filepath.Join(d.home, "saved.tar"), ref)
	if info, err := os.Stat(filepath.Join(d.home, "saved.tar")); err != nil || info.Size() < 5<<20 {
		t.Errorf("docker saved %v, %v", info, err)
	}
	r.requireShared(t, "docker/", "clients/docker")
}

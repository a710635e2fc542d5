package conformance

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// containersClient returns a tool of the containers project (podman, buildah, skopeo) with its own
// storage and configuration. It uses plain HTTP with s.
func containersClient(t testing.TB, name string, s *server) client {
	t.Helper()
	c := debianClient(t, name, name)
	if os.Getuid() != 0 {
		testserver.SkipOrFail(t, "%s needs root here, or a user with subordinate ids", name)
	}
	policy := filepath.Join(c.home, ".config", "containers")
	if err := os.MkdirAll(policy, 0o755); err != nil {
		t.Fatal(err)
	}
	c.write(".config/containers/policy.json", []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`))
	storage := c.write("storage.conf", []byte("[storage]\ndriver = \"vfs\"\n"+
		"graphroot = \""+filepath.Join(c.home, "storage")+"\"\nrunroot = \""+filepath.Join(c.home, "run")+"\"\n"))
	c.write(".config/containers/registries.conf", []byte("unqualified-search-registries = []\n"+
		"[[registry]]\nlocation = \""+s.Addr+"\"\ninsecure = true\n"))
	// A container may not raise the limits of the user's session.
	engine := c.write("containers.conf", []byte("[containers]\ndefault_ulimits = []\n"+
		"[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\ntmp_dir = \""+filepath.Join(c.home, "tmp")+"\"\n"))
	c.env = append(c.env, "CONTAINERS_STORAGE_CONF="+storage, "CONTAINERS_CONF="+engine, "BUILDAH_ISOLATION=chroot")
	return c
}

// TestPodman builds, pushes, removes, pulls and runs an image.
func TestPodman(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{})
	p := containersClient(t, "podman", s)
	i := newContext(t)
	const agent = "containers/"
	ref := s.Addr + "/pod/app:1"

	p.run("build", "--layers", "--tag", ref, i.dir)
	p.run("push", ref)
	s.requirePush(agent, "pod/app", "1")
	digest, doc := s.manifest("pod/app", "1")
	if doc.MediaType != typeImage || len(doc.Layers) != 4 {
		t.Fatalf("podman pushed a %q of %d layers", doc.MediaType, len(doc.Layers))
	}

	p.run("rmi", ref)
	p.run("pull", ref)
	s.requireRequest(agent, "GET", "pod/app", doc.Layers[1].Digest, http.StatusOK)
	if got := p.run("run", "--rm", "--network", "none", "--ulimit", "host", ref); got != i.prints {
		t.Errorf("%s prints\n%s\nexpected\n%s", ref, got, i.prints)
	}

	// The same image with Docker's media types, in another repository.
	p.run("push", "--format", "v2s2", ref, "docker://"+s.Addr+"/pod/docker:2")
	s.requireRequest(agent, "PUT", "pod/docker", "2", http.StatusCreated)
	if _, doc := s.manifest("pod/docker", "2"); doc.MediaType != "application/vnd.docker.distribution.manifest.v2+json" {
		t.Errorf("podman pushed a %q", doc.MediaType)
	}
	p.run("pull", s.Addr+"/pod/app@"+digest)
	p.run("rmi", "--all", "--force")
	if out := p.fails("pull", s.Addr+"/pod/app:none"); !strings.Contains(out, "manifest unknown") && !strings.Contains(out, "404") {
		t.Errorf("podman says of a tag that does not exist: %s", out)
	}
	s.requireNoRefusal()
}

// TestBuildah builds two images without a Dockerfile and pushes them in one index.
func TestBuildah(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{})
	b := containersClient(t, "buildah", s)
	const agent = "Buildah/"
	add := []string{"manifest", "create", "joined"}
	for _, arch := range []string{"amd64", "arm64"} {
		container := b.run("from", "--arch", arch, "scratch")
		b.run("copy", container, b.write(arch, randomBytes(t, 1<<20)), "/content")
		b.run("config", "--arch", arch, "--os", "linux", container)
		ref := s.Addr + "/bud/" + arch + ":1"
		b.run("commit", "--format", "oci", "--rm", container, ref)
		b.run("push", ref)
		s.requirePush(agent, "bud/"+arch, "1")
		add = append(add, ref)
	}
	b.run(add...)
	b.run("manifest", "push", "--all", "--format", "oci", "joined", "docker://"+s.Addr+"/bud/joined:all")
	s.requireRequest(agent, "PUT", "bud/joined", "all", http.StatusCreated)
	_, doc := s.manifest("bud/joined", "all")
	if doc.MediaType != typeIndex || len(doc.Manifests) != 2 {
		t.Fatalf("buildah pushed a %q of %d images", doc.MediaType, len(doc.Manifests))
	}
	for _, d := range doc.Manifests {
		s.manifest("bud/joined", d.Digest)
	}
	b.run("rmi", "--all", "--force")
	b.run("pull", "--arch", "arm64", s.Addr+"/bud/joined:all")
	i := slices.IndexFunc(doc.Manifests, func(d desc) bool { return d.Platform.Architecture == "arm64" })
	if i < 0 {
		t.Fatalf("no image for arm64 in %+v", doc.Manifests)
	}
	s.requireRequest(agent, "GET", "bud/joined", doc.Manifests[i].Digest, http.StatusOK)
	s.requireNoRefusal()
}

// TestSkopeo copies an index to, within and from the registry, in every format of skopeo.
func TestSkopeo(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{})
	k := containersClient(t, "skopeo", s)
	l := newLayout(t)
	const agent = "skopeo/"
	repo := "docker://" + s.Addr + "/sko"

	k.run("copy", "--all", "oci:"+l.dir+":latest", repo+"/one:1")
	s.requirePush(agent, "sko/one", "1")
	s.requireLayout("sko/one", "1", l)

	k.run("copy", "--all", repo+"/one:1", repo+"/two:1")
	s.requireRequest(agent, "PUT", "sko/two", "1", http.StatusCreated)
	s.requireMount(agent, "sko/two", len(l.layers), len(l.images))
	s.requireLayout("sko/two", "1", l)

	for format, mediaType := range map[string]string{
		"v2s2": "application/vnd.docker.distribution.manifest.v2+json",
		"v2s1": "application/vnd.docker.distribution.manifest.v1+prettyjws",
		"oci":  typeImage,
	} {
		k.run("copy", "--format", format, repo+"/one:1", repo+"/"+format+":1")
		s.requireRequest(agent, "PUT", "sko/"+format, "1", http.StatusCreated)
		h, _ := s.get("/v2/sko/" + format + "/manifests/1")
		if got := h.Get("Content-Type"); got != mediaType {
			t.Errorf("skopeo copy --format %s: the server has a %s, expected %s", format, got, mediaType)
		}
		k.run("copy", repo+"/"+format+":1", "dir:"+filepath.Join(t.TempDir(), format))
	}

	// skopeo compresses a layer only if the registry has no compressed form of it.
	plain := "dir:" + filepath.Join(t.TempDir(), "plain")
	k.run("copy", "--dest-decompress", "oci:"+newLayout(t).dir+":latest", plain)
	k.run("copy", "--format", "oci", "--dest-compress-format", "zstd", plain, repo+"/zstd:1")
	if _, doc := s.manifest("sko/zstd", "1"); !strings.HasSuffix(doc.Layers[0].MediaType, "+zstd") {
		t.Errorf("skopeo compressed to a %s", doc.Layers[0].MediaType)
	}

	var list struct{ Tags []string }
	k.run("copy", "--all", repo+"/one:1", repo+"/one:another")
	if err := json.Unmarshal([]byte(k.run("list-tags", repo+"/one")), &list); err != nil || !slices.Equal(list.Tags, []string{"1", "another"}) {
		t.Errorf("skopeo lists %v, %v", list.Tags, err)
	}
	if got := k.run("inspect", "--format", "{{.Digest}}", repo+"/one:1"); got != l.digest {
		t.Errorf("skopeo inspects %s, expected %s", got, l.digest)
	}

	// skopeo deletes the manifest of a tag, and so its other tag too.
	k.run("delete", repo+"/one:1")
	s.requireRequest(agent, "DELETE", "sko/one", l.digest, http.StatusAccepted)
	if got := s.tags("sko/one"); len(got) != 0 {
		t.Errorf("after the deletion there are still %v", got)
	}
	s.requireLayout("sko/two", "1", l)
	s.requireNoRefusal()
}

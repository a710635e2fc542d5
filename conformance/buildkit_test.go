package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

const buildkitAgent = "buildkit/"

// buildkit is buildctl with its own daemon.
type buildkit struct{ client }

// withTest returns buildctl for use in another test.
func (b buildkit) withTest(t testing.TB) buildkit {
	b.t = t
	return b
}

// startBuildKit starts a buildkitd without any content, whose buildctl has a user's password. It
// stops at the end of the test.
func startBuildKit(t *testing.T, addr string, a account) buildkit {
	t.Helper()
	b := buildkit{goClient(t, buildkitModule, "github.com/moby/buildkit/cmd/buildctl")}
	daemon := goClient(t, buildkitModule, "github.com/moby/buildkit/cmd/buildkitd")
	runc := debianClient(t, "runc", "runc")
	if os.Getuid() != 0 {
		testserver.SkipOrFail(t, "buildkitd needs root")
	}
	dir := daemonDir(t, "berth-buildkit-")
	socket := "unix://" + filepath.Join(dir, "buildkit.sock")
	cmd := exec.Command(daemon.path, "--config", daemon.write("buildkitd.toml", nil), "--addr", socket,
		"--root", filepath.Join(dir, "data"), "--otel-socket-path", filepath.Join(dir, "otel.sock"), "--cdi-disabled",
		"--containerd-worker=false", "--oci-worker=true", "--oci-worker-binary", runc.path, "--oci-worker-net=host",
		// Overlays do not work on an overlay, which the file system of a container is.
		"--oci-worker-snapshotter=native")
	ended := startDaemon(t, cmd)
	// buildctl fails if it cannot send its traces in 50 ms when it ends: it gets none to send.
	b.env = append(b.env, "BUILDKIT_HOST="+socket, "OTEL_TRACES_SAMPLER=always_off")
	b.login(addr, a)
	if err := awaitUp(ended, func() error { _, err := b.try(nil, "debug", "workers"); return err }); err != nil {
		t.Fatalf("buildkitd does not answer: %v", err)
	}
	return b
}

// build builds the image of a context, and returns how many of its steps were in a cache and how
// many were run.
func (b buildkit) build(i buildContext, args ...string) (cached, run int) {
	b.t.Helper()
	trace := filepath.Join(b.t.TempDir(), "trace")
	b.run(append(buildArgs(i, "--trace", trace), args...)...)
	steps := map[string]bool{}
	for line := range strings.Lines(readFile(b.t, trace)) {
		var status struct {
			Vertexes []struct {
				Name   string
				Cached bool
			}
		}
		if err := json.Unmarshal([]byte(line), &status); err != nil {
			b.t.Fatalf("%v\n%s", err, line)
		}
		for _, v := range status.Vertexes {
			if strings.Contains(v.Name, "COPY") {
				steps[v.Name] = steps[v.Name] || v.Cached
			}
		}
	}
	for _, hit := range steps {
		if hit {
			cached++
		} else {
			run++
		}
	}
	return cached, run
}

func buildArgs(i buildContext, args ...string) []string {
	return append([]string{"build", "--frontend", "dockerfile.v0", "--local", "context=" + i.dir, "--local", "dockerfile=" + i.dir}, args...)
}

// TestBuildKit builds with BuildKit, and pushes images, indexes with attestations, and caches.
func TestBuildKit(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	b := startBuildKit(t, g.Addr, g.alice)
	i := newContext(t)
	push := func(name string) string { return "type=image,push=true,name=" + g.Addr + "/" + name }

	g.row(t, "image", func(t *testing.T) {
		p := g.phase(buildkitAgent)
		cached, run := b.withTest(t).build(i, "--output", push("alice/image:1"))
		if cached != 0 || run != 4 {
			t.Errorf("BuildKit ran %d steps and found %d in a cache", run, cached)
		}
		p.has("token user:alice repository:alice/image:pull,push", "PUT upload alice/image 201", "PUT manifest alice/image 201")
		if _, doc := g.manifest("alice/image", "1"); doc.MediaType != typeImage || len(doc.Layers) != 4 {
			t.Errorf("BuildKit pushed a %s of %d layers", doc.MediaType, len(doc.Layers))
		}
		b.withTest(t).build(i, "--output", push("alice/docker:1")+",oci-mediatypes=false")
		if _, doc := g.manifest("alice/docker", "1"); doc.MediaType != "application/vnd.docker.distribution.manifest.v2+json" {
			t.Errorf("BuildKit pushed a %s", doc.MediaType)
		}
		p.hasTimes(4, "POST uploads alice/docker 201") // mounts from alice/image
	})

	for name, format := range map[string]string{"images": "false", "artifacts": "true"} {
		g.row(t, "attestations_as_"+name, func(t *testing.T) {
			repo := "alice/attested-" + name
			b.withTest(t).build(i, "--output", push(repo+":1")+",oci-artifact="+format,
				"--opt", "platform=linux/amd64,linux/arm64", "--opt", "attest:provenance=mode=min")
			g.requireAttested(repo, format == "true")
		})
	}

	for name, options := range map[string]string{
		"inline": "",
		"min":    "mode=min",
		"image":  "mode=max,image-manifest=true,oci-mediatypes=true",
		"index":  "mode=max,image-manifest=false,oci-mediatypes=true",
		"list":   "mode=max,image-manifest=false,oci-mediatypes=false",
		"zstd":   "mode=max,compression=zstd,force-compression=true",
	} {
		g.row(t, "cache_"+name, func(t *testing.T) {
			ref, export, output := g.Addr+"/alice/cache-"+name+":1", "type=inline", push("alice/cache-"+name+":1")
			if options != "" {
				export, output = "type=registry,ref="+ref+","+options, push("alice/built-"+name+":1")
			}
			b.withTest(t).build(i, "--output", output, "--export-cache", export)
			g.requireCache("alice/cache-"+name, name)
			g.requireHit(t, i, name, "--import-cache", "type=registry,ref="+ref, "--export-cache", export)
			g.requireCache("alice/cache-"+name, name)
		})
	}

	g.row(t, "cache_denied", func(t *testing.T) {
		p := g.phase(buildkitAgent)
		b.withTest(t).fails(buildArgs(i, "--export-cache", "type=registry,ref="+g.Addr+"/bob/cache:1")...)
		p.has("denied user:alice push bob/cache")
		p.requireNothingFrom("user:alice", "bob")
	})
}

// requireAttested requires an index of two images, each with an attestation.
func (g *authServer) requireAttested(repo string, artifacts bool) {
	g.t.Helper()
	_, index := g.manifest(repo, "1")
	if index.MediaType != typeIndex || len(index.Manifests) != 4 {
		g.t.Fatalf("BuildKit pushed a %s of %d", index.MediaType, len(index.Manifests))
	}
	var platforms []string
	for _, d := range index.Manifests {
		platforms = append(platforms, d.Platform.OS+"/"+d.Platform.Architecture)
		_, doc := g.manifest(repo, d.Digest)
		if d.Platform.OS != "unknown" {
			continue
		}
		if len(doc.Layers) != 1 || doc.Layers[0].MediaType != "application/vnd.in-toto+json" {
			g.t.Errorf("the attestation is %+v", doc)
		}
		if !artifacts {
			continue
		}
		if doc.Subject == nil || doc.Subject.Digest == "" {
			g.t.Fatalf("the attestation has no subject: %+v", doc)
		}
		if got := g.referrers(repo, doc.Subject.Digest); !slices.Equal(got, []string{doc.ArtifactType}) {
			g.t.Errorf("the referrers are %v", got)
		}
	}
	if want := []string{"linux/amd64", "linux/arm64", "unknown/unknown", "unknown/unknown"}; !slices.Equal(slices.Sorted(slices.Values(platforms)), want) {
		g.t.Errorf("the platforms are %v", platforms)
	}
}

// requireCache requires that a cache has the kind of manifest that its form asks for. An index or
// a list has the layers and the config themselves.
func (g *authServer) requireCache(repo, form string) {
	g.t.Helper()
	_, doc := g.manifest(repo, "1")
	mediaType, layers, listed := typeImage, 4, 0
	switch form {
	case "index":
		mediaType, layers, listed = typeIndex, 0, 5
	case "list":
		mediaType, layers, listed = "application/vnd.docker.distribution.manifest.list.v2+json", 0, 5
	}
	if doc.MediaType != mediaType || len(doc.Layers) != layers || len(doc.Manifests) != listed {
		g.t.Errorf("the cache is a %s of %d layers and %d manifests", doc.MediaType, len(doc.Layers), len(doc.Manifests))
	}
}

// requireHit builds with a cache in a BuildKit that has no other content. Every step must be in
// the cache. The layers are mounted when the image is pushed, and pulled when its files are needed.
func (g *authServer) requireHit(t *testing.T, i buildContext, name string, cacheArgs ...string) {
	t.Helper()
	fresh := startBuildKit(t, g.Addr, g.alice)
	repo := "alice/hit-" + name
	p := g.phase(buildkitAgent)
	cached, run := fresh.build(i, append(cacheArgs, "--output", "type=image,push=true,name="+g.Addr+"/"+repo+":1")...)
	if cached != 4 || run != 0 {
		t.Errorf("BuildKit ran %d steps and found %d in the cache", run, cached)
	}
	p.hasTimes(4, "POST uploads "+repo+" 201")
	if _, doc := g.manifest(repo, "1"); len(doc.Layers) != 4 {
		t.Errorf("BuildKit pushed %d layers", len(doc.Layers))
	}

	p = g.phase(buildkitAgent)
	out := filepath.Join(t.TempDir(), "out")
	fresh.build(i, append(cacheArgs[:2:2], "--output", "type=local,dest="+out)...)
	p.hasTimes(5, "GET blob alice/cache-"+name+" 200") // the config and the layers
	for _, file := range []string{"a", "b", "c"} {
		if readFile(t, filepath.Join(out, "content", file)) != readFile(t, filepath.Join(i.dir, file)) {
			t.Errorf("the cache has another %s", file)
		}
	}
}

package conformance

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOras uses oras with artifacts: push, attach, discover, copy, pull and delete.
func TestOras(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{})
	c := goClient(t, clientModule, "oras.land/oras/cmd/oras")
	const agent = "oras/"
	repo := s.Addr + "/ora/"
	at := func(args ...string) string { return c.run(append(args, "--plain-http")...) }

	// oras puts the paths of files as given into manifests, so it runs in its home.
	c.dir = c.home
	chart := randomBytes(t, 4<<20)
	c.write("chart.tgz", chart)
	c.write("readme.txt", []byte("read me"))
	at("push", "--artifact-type", "application/vnd.example.chart", repo+"in:1,latest",
		"chart.tgz:application/vnd.example.chart.v1.tar+gzip", "readme.txt:text/plain")
	s.requirePush(agent, "ora/in", "1")
	digest, doc := s.manifest("ora/in", "latest")
	if doc.ArtifactType != "application/vnd.example.chart" || len(doc.Layers) != 2 {
		t.Fatalf("oras pushed a %q of %d files", doc.ArtifactType, len(doc.Layers))
	}
	if got := at("resolve", repo+"in:1"); got != digest {
		t.Errorf("oras resolves to %s, the server to %s", got, digest)
	}

	at("attach", "--artifact-type", "application/vnd.example.signature", "--annotation", "key=value", repo+"in:1", "readme.txt")
	s.requireRequest(agent, "POST", "ora/in", "", http.StatusAccepted)
	var found struct {
		Referrers []struct {
			ArtifactType string
			Digest       string
			Annotations  map[string]string
		}
	}
	out := at("discover", "--format", "json", repo+"in:1")
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found.Referrers) != 1 {
		t.Fatalf("oras discovers %s, %v", out, err)
	}
	if r := found.Referrers[0]; r.ArtifactType != "application/vnd.example.signature" || r.Annotations["key"] != "value" {
		t.Errorf("oras discovers %+v", r)
	}
	s.requireRequest(agent, "GET", "ora/in", digest, http.StatusOK)
	if got := s.tags("ora/in"); !slices.Equal(got, []string{"1", "latest"}) {
		// Clients that find no referrers API make a tag of the subject's digest.
		t.Errorf("the tags are %v", got)
	}

	c.run("cp", "--recursive", "--from-plain-http", "--to-plain-http", repo+"in:1", repo+"copy:1")
	s.requireRequest(agent, "PUT", "ora/copy", "1", http.StatusCreated)
	s.requireRequest(agent, "POST", "ora/copy", "", http.StatusCreated)
	if got := s.referrers("ora/copy", digest); !slices.Equal(got, []string{"application/vnd.example.signature"}) {
		t.Errorf("the copy's referrers are %v", got)
	}

	at("pull", "--output", "out", repo+"copy:1")
	s.requireRequest(agent, "GET", "ora/copy", doc.Layers[0].Digest, http.StatusOK)
	if got, err := os.ReadFile(filepath.Join(c.home, "out", "chart.tgz")); err != nil || string(got) != string(chart) {
		t.Errorf("oras pulled %d other bytes, %v", len(got), err)
	}

	// An index of two platforms.
	for _, arch := range []string{"amd64", "arm64"} {
		c.write("config-"+arch+".json", []byte(`{"os":"linux","architecture":"`+arch+`"}`))
		c.write(arch+".tar", tarball(t, arch, randomBytes(t, 1000)))
		at("push", "--config", "config-"+arch+".json:"+typeConfig, repo+"multi:"+arch, arch+".tar:application/vnd.oci.image.layer.v1.tar")
	}
	at("manifest", "index", "create", repo+"multi:all", "amd64", "arm64")
	if _, doc := s.manifest("ora/multi", "all"); doc.MediaType != typeIndex || len(doc.Manifests) != 2 || doc.Manifests[1].Platform.Architecture != "arm64" {
		t.Errorf("oras made %+v", doc)
	}
	at("pull", "--platform", "linux/arm64", "--output", "arm", repo+"multi:all")

	if got := strings.Fields(at("repo", "ls", s.Addr)); !slices.Equal(got, []string{"ora/copy", "ora/in", "ora/multi"}) {
		t.Errorf("the catalog is %v", got)
	}
	at("manifest", "delete", "--force", repo+"copy@"+found.Referrers[0].Digest)
	s.requireRequest(agent, "DELETE", "ora/copy", found.Referrers[0].Digest, http.StatusAccepted)
	if got := s.referrers("ora/copy", digest); len(got) != 0 {
		t.Errorf("a deleted referrer is still listed: %v", got)
	}
	at("blob", "push", "--media-type", "application/octet-stream", repo+"in", "readme.txt")
	s.requireNoRefusal()

	// A blob that a manifest links is not deleted.
	c.fails("blob", "delete", "--force", "--plain-http", repo+"in@"+doc.Layers[0].Digest)
	s.requireRequest(agent, "DELETE", "ora/in", doc.Layers[0].Digest, http.StatusForbidden)
}

package conformance

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCrane uses crane with images and indexes.
func TestCrane(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{})
	c := goClient(t, clientModule, "github.com/google/go-containerregistry/cmd/crane")
	l := newLayout(t)
	const agent = "crane/"
	repo := s.Addr + "/cra/"

	c.run("push", "--index", l.dir, repo+"in:wrapped") // pushes the index of the layout itself
	s.requirePush(agent, "cra/in", "wrapped")
	s.requireLayout("cra/in", l.digest, l)
	c.run("tag", repo+"in@"+l.digest, "1")
	s.requireLayout("cra/in", "1", l)
	c.run("validate", "--remote", repo+"in:1")
	if got := c.run("digest", repo+"in:1"); got != l.digest {
		t.Errorf("crane says %s, expected %s", got, l.digest)
	}

	// A copy to another repository mounts its blobs.
	c.run("copy", repo+"in:1", repo+"copy/of:1")
	s.requireRequest(agent, "PUT", "cra/copy/of", "1", http.StatusCreated)
	s.requireRequest(agent, "POST", "cra/copy/of", "", http.StatusCreated)
	s.requireLayout("cra/copy/of", "1", l)

	// An index of two platforms, made of images built here.
	var images []string
	for _, arch := range []string{"amd64", "arm64"} {
		layer := c.write(arch+".tar", tarball(t, "content-"+arch, randomBytes(t, 300<<10)))
		base := repo + "made:" + arch
		c.run("append", "--oci-empty-base", "--new_layer", layer, "--new_tag", base)
		c.run("mutate", "--set-platform", "linux/"+arch, "--label", "arch="+arch, "--tag", base, base)
		images = append(images, "--manifest", base)
	}
	c.run(append([]string{"index", "append", "--tag", repo + "made:all"}, images...)...)
	s.requireRequest(agent, "PUT", "cra/made", "all", http.StatusCreated)
	_, doc := s.manifest("cra/made", "all")
	if doc.MediaType != typeIndex || len(doc.Manifests) != 2 {
		t.Fatalf("crane made a %q of %d images", doc.MediaType, len(doc.Manifests))
	}
	if got := c.run("config", "--platform", "linux/arm64", repo+"made:all"); !strings.Contains(got, `"arch":"arm64"`) {
		t.Errorf("the config of linux/arm64 is %s", got)
	}

	out := filepath.Join(c.home, "out")
	c.run("pull", "--format", "oci", repo+"copy/of:1", out)
	c.run("export", "--platform", "linux/amd64", repo+"copy/of:1", filepath.Join(c.home, "files.tar"))
	s.requireRequest(agent, "GET", "cra/copy/of", l.layers[0], http.StatusOK)

	if got := strings.Fields(c.run("ls", repo+"made")); !slices.Equal(got, []string{"all", "amd64", "arm64"}) {
		t.Errorf("crane lists %v", got)
	}
	if got := strings.Fields(c.run("catalog", s.Addr)); !slices.Equal(got, []string{"cra/copy/of", "cra/in", "cra/made"}) {
		t.Errorf("the catalog is %v", got)
	}

	// Deleting by tag deletes the tag, by digest the manifest, unless an index lists it.
	c.run("delete", repo+"copy/of:1")
	s.requireRequest(agent, "DELETE", "cra/copy/of", "1", http.StatusAccepted)
	if got := s.tags("cra/copy/of"); len(got) != 0 {
		t.Errorf("after the deletion there are still %v", got)
	}
	s.requireLayout("cra/copy/of", l.digest, l)
	s.requireNoRefusal()
	if got := c.fails("delete", repo+"copy/of@"+l.images[0]); !strings.Contains(got, "DENIED") {
		t.Errorf("deleting an index's image: %s", got)
	}
	s.requireRequest(agent, "DELETE", "cra/copy/of", l.images[0], http.StatusForbidden)
	for _, d := range append([]string{l.digest}, l.images...) {
		c.run("delete", repo+"copy/of@"+d)
		s.requireRequest(agent, "DELETE", "cra/copy/of", d, http.StatusAccepted)
		if got := s.status("/v2/cra/copy/of/manifests/" + d); got != http.StatusNotFound {
			t.Errorf("a deleted manifest answers %d", got)
		}
	}
	s.requireLayout("cra/in", "1", l)
}

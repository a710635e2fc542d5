package conformance

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRegctl uses regctl with images, an index, artifacts with referrers, and blobs.
func TestRegctl(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{})
	c := goClient(t, clientModule, "github.com/regclient/regclient/cmd/regctl")
	c.env = append(c.env, "REGCTL_CONFIG="+filepath.Join(c.home, "regctl.json"))
	c.run("registry", "set", "--tls", "disabled", s.Addr)
	l := newLayout(t)
	const agent = "regclient/regctl"
	repo := s.Addr + "/reg/"

	c.run("image", "copy", "ocidir://"+l.dir+":latest", repo+"in:1")
	s.requirePush(agent, "reg/in", "1")
	s.requireLayout("reg/in", "1", l)

	// Two artifacts refer to the index, and one refers to the first of them.
	file := c.write("sbom.json", []byte(`{"sbom":"of the index"}`))
	sbom := c.run("artifact", "put", "--artifact-type", "application/vnd.example.sbom", "--subject", repo+"in:1",
		"--annotation", "org.example.tool=regctl", "--file", file, "--format", "{{.Manifest.GetDescriptor.Digest}}")
	c.run("artifact", "put", "--artifact-type", "application/vnd.example.note", "--subject", repo+"in:1", "--file", file)
	c.run("artifact", "put", "--artifact-type", "application/vnd.example.signature", "--subject", repo+"in@"+sbom, "--file", file)
	s.requireRequest(agent, "PUT", "reg/in", sbom, http.StatusCreated)
	want := []string{"application/vnd.example.note", "application/vnd.example.sbom"}
	if got := s.referrers("reg/in", l.digest); !equalSets(got, want) {
		t.Errorf("the index's referrers are %v, expected %v", got, want)
	}
	list := c.run("artifact", "list", repo+"in:1", "--filter-artifact-type", "application/vnd.example.sbom",
		"--format", "{{range .Descriptors}}{{.Digest}} {{.Annotations}}{{end}}")
	if !strings.Contains(list, sbom) || !strings.Contains(list, "org.example.tool:regctl") || strings.Count(list, "sha256:") != 1 {
		t.Errorf("regctl lists the referrers %q", list)
	}
	s.requireRequest(agent, "GET", "reg/in", l.digest, http.StatusOK)
	if tree := c.run("artifact", "tree", repo+"in:1"); !strings.Contains(tree, "vnd.example.signature") {
		t.Errorf("the tree lacks a referrer of a referrer:\n%s", tree)
	}
	if got := c.run("artifact", "get", "--subject", repo+"in:1", "--filter-artifact-type", "application/vnd.example.sbom"); got != `{"sbom":"of the index"}` {
		t.Errorf("the artifact reads %q", got)
	}

	// A copy to another repository includes the referrers and mounts the layers.
	c.run("image", "copy", "--referrers", repo+"in:1", repo+"copy:1")
	s.requireRequest(agent, "PUT", "reg/copy", "1", http.StatusCreated)
	s.requireRequest(agent, "POST", "reg/copy", "", http.StatusCreated)
	s.requireLayout("reg/copy", "1", l)
	if got := s.referrers("reg/copy", l.digest); !equalSets(got, want) {
		t.Errorf("the copy's referrers are %v, expected %v", got, want)
	}

	// An index, a manifest list, and an image with another digest algorithm.
	for tag, mediaType := range map[string]string{
		"index": typeIndex,
		"list":  "application/vnd.docker.distribution.manifest.list.v2+json",
	} {
		c.run("index", "create", repo+"in:"+tag, "--media-type", mediaType,
			"--ref", repo+"in:1", "--platform", "linux/amd64", "--platform", "linux/arm64")
		if _, doc := s.manifest("reg/in", tag); doc.MediaType != mediaType || len(doc.Manifests) != 2 {
			t.Errorf("regctl made a %q of %d images", doc.MediaType, len(doc.Manifests))
		}
	}
	c.run("image", "mod", repo+"in:1", "--digest-algo", "sha512", "--create", repo+"long:1")
	if digest, doc := s.manifest("reg/long", "1"); !strings.HasPrefix(doc.Manifests[0].Digest, "sha512:") {
		t.Errorf("the index %s lists %s", digest, doc.Manifests[0].Digest)
	} else {
		s.manifest("reg/long", doc.Manifests[0].Digest)
	}

	content := randomBytes(t, 3<<20)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	c.feed(content, "blob", "put", "--digest", digest, repo+"in")
	c.run("blob", "head", repo+"in", digest)
	c.run("blob", "delete", repo+"in", digest)
	s.requireRequest(agent, "DELETE", "reg/in", digest, http.StatusAccepted)

	if got := strings.Fields(c.run("repo", "ls", s.Addr)); !slices.Equal(got, []string{"reg/copy", "reg/in", "reg/long"}) {
		t.Errorf("the catalog is %v", got)
	}
	c.run("tag", "delete", repo+"in:list")
	s.requireRequest(agent, "DELETE", "reg/in", "list", http.StatusAccepted)
	if got := strings.Fields(c.run("tag", "ls", repo+"in")); !slices.Equal(got, []string{"1", "index"}) {
		t.Errorf("regctl lists %v", got)
	}
	c.run("manifest", "delete", repo+"copy@"+l.digest)
	s.requireRequest(agent, "DELETE", "reg/copy", l.digest, http.StatusAccepted)
	if got := s.status("/v2/reg/copy/manifests/1"); got != http.StatusNotFound {
		t.Errorf("a deleted manifest's tag answers %d", got)
	}
	s.requireNoRefusal()
}

package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestNPM uses @sigstore/oci, with which the actions of GitHub attach attestations to images.
func TestNPM(t *testing.T) {
	t.Parallel()
	c := npmClient(t)
	g := startAuthServer(t, options{})
	image := newImageLayout(t, 1000)
	g.seed(image, "alice/npm", "1")
	c.login(g.Addr, g.alice)
	const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	const agent = "minipass-fetch/"
	repo := g.Addr + "/alice/npm"

	g.row(t, "attach", func(t *testing.T) {
		c := c.withTest(t)
		p := g.phase(agent)
		for i := range 2 {
			content := encode(t, map[string]any{"mediaType": bundle, "number": i})
			var made struct {
				ImageDigest string
				Attestation struct{ Digest, SubjectDigest string }
			}
			out := c.feed(content, "attest.mjs", repo, "1", bundle)
			if err := json.Unmarshal([]byte(out), &made); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if made.ImageDigest != image.digest || made.Attestation.SubjectDigest != image.digest {
				t.Errorf("@sigstore/oci says %s, expected the image %s", out, image.digest)
			}
			_, doc := g.manifest("alice/npm", made.Attestation.Digest)
			if _, b := g.get("/v2/alice/npm/blobs/" + doc.Layers[0].Digest); string(b) != string(content) {
				t.Errorf("the attestation is %s", b)
			}
		}
		p.inOrder("POST uploads alice/npm 401", "token user:alice repository:alice/npm:pull,push", "GET token 200",
			"HEAD manifest alice/npm 200", "PUT upload alice/npm 201", "PUT manifest alice/npm 201", "GET referrers alice/npm 200")
		p.hasTimes(3, "PUT upload alice/npm 201") // two bundles and one empty config
		if got := g.referrers("alice/npm", image.digest); !slices.Equal(got, []string{bundle, bundle}) {
			t.Errorf("the referrers are %v", got)
		}
		if got := g.tags("alice/npm"); !slices.Equal(got, []string{"1"}) {
			// Clients that find no referrers API make a tag of the subject's digest.
			t.Errorf("the tags are %v", got)
		}
	})

	g.row(t, "denied", func(t *testing.T) {
		c := c.withTest(t)
		c.login(g.Addr, g.bob)
		requireSays(t, c.fails("attest.mjs", repo, "1", bundle), "Error retrieving image digest", "401")
		p := g.phase(agent)
		c.login(g.Addr, account{"alice", g.wrong})
		requireSays(t, c.fails("attest.mjs", repo, "1", bundle), "401")
		p.has("login alice refused", "GET token 401")
	})
}

// npmClient returns Node in the directory of the pinned npm packages, for the scripts there.
func npmClient(t testing.TB) client {
	t.Helper()
	c := node(t)
	c.dir = filepath.Join("clients", "npm")
	if _, err := os.Stat(filepath.Join(c.dir, "node_modules")); err != nil {
		testserver.SkipOrFail(t, "the packages of conformance/%s are not installed (scripts/deps)", filepath.ToSlash(c.dir))
	}
	// They look for Docker's configuration in $HOME/.docker only.
	if err := os.Symlink(c.home, filepath.Join(c.home, ".docker")); err != nil {
		t.Fatal(err)
	}
	return c
}

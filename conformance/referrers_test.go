package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const artifactType = "application/vnd.example.signature"

// pushReferrers pushes n artifacts with the digest as their subject, which need not exist.
// annotations returns the JSON of each.
func (s *server) pushReferrers(repo, subject string, n int, annotations func(i int) string) {
	s.t.Helper()
	call := newCaller(s.URL)
	empty := content{size: 2, digest: digest.FromString("{}")}
	a := call.do(request{method: "POST", path: "/v2/" + repo + "/blobs/uploads/?digest=" + empty.digest.String(),
		body: strings.NewReader("{}"), length: 2})
	if a.status != http.StatusCreated {
		s.t.Fatalf("push of a config: %v", a)
	}
	for i := range n {
		payload := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,`+
			`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[],`+
			`"subject":{"mediaType":%[1]q,"digest":%[4]q,"size":1},"annotations":%s}`,
			typeImage, artifactType, empty.digest, subject, annotations(i))
		if a := call.putManifest(repo, digest.FromString(payload).String(), typeImage, []byte(payload)); a.status != http.StatusCreated {
			s.t.Fatalf("push of a referrer of %d bytes: %v", len(payload), a)
		}
	}
}

// TestCosignTree lists 151 artifacts with a client that reads only one page of referrers.
func TestCosignTree(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{})
	c := goClient(t, cosignModule, cosignPackage)
	image := newImageLayout(t, 1000)
	crane := goClient(t, clientModule, "github.com/google/go-containerregistry/cmd/crane")
	crane.run("push", image.dir, s.Addr+"/team/app:1")
	s.pushReferrers("team/app", image.digest, 151, func(i int) string { return fmt.Sprintf(`{"n":"%d"}`, i) })
	tree := c.run("tree", "--experimental-oci11", "--allow-http-registry", s.Addr+"/team/app@"+image.digest)
	if n := strings.Count(tree, artifactType+" artifacts"); n != 151 {
		t.Errorf("cosign sees %d of 151 artifacts", n)
	}
}

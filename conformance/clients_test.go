package conformance

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// The Go clients are built from their own modules, with pinned versions. One module has the clients
// whose requirements agree; each other client has its own.
const (
	clientModule       = "clients"
	helmModule         = "clients/helm"
	cosignModule       = "clients/cosign"
	distributionModule = "clients/distribution"
	buildkitModule     = "clients/buildkit"
)

// client is a program that uses the server. It has its own home directory, so that it neither reads
// nor changes the user's configuration.
type client struct {
	t    testing.TB
	path string
	home string
	dir  string // working directory; "" is the test's
	env  []string
}

// debianClient returns a program from a Debian package.
func debianClient(t testing.TB, name, pkg string) client {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testserver.SkipOrFail(t, "%s is not installed (Debian package %s)", name, pkg)
	}
	return newClient(t, path)
}

// goClient builds a client from source, in one of the modules above.
func goClient(t testing.TB, module, pkg string) client {
	t.Helper()
	path, err := tryBuild(module, pkg)
	if err != nil {
		testserver.SkipOrFail(t, "%s cannot be built: %v", pkg, err)
	}
	return newClient(t, path)
}

func newClient(t testing.TB, path string) client {
	c := client{t: t, path: path, home: t.TempDir()}
	c.env = []string{
		"HOME=" + c.home, "DOCKER_CONFIG=" + c.home, "XDG_RUNTIME_DIR=" + c.home,
		"XDG_CONFIG_HOME=" + filepath.Join(c.home, ".config"), "TMPDIR=" + c.home,
		"REGISTRY_AUTH_FILE=" + c.write("auth.json", []byte("{}")),
	}
	return c
}

// run runs the client, requires success, and returns its standard output without the white space
// around it.
func (c client) run(args ...string) string {
	c.t.Helper()
	return c.feed(nil, args...)
}

// feed is run with a standard input.
func (c client) feed(stdin []byte, args ...string) string {
	c.t.Helper()
	out, err := c.try(stdin, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// try is feed for a run that may fail. It may be called from any goroutine.
func (c client) try(stdin []byte, args ...string) (string, error) {
	return feed(c.dir, stdin, c.env, c.path, args...)
}

// fails runs the client, requires that it fails, and returns its output.
func (c client) fails(args ...string) string {
	c.t.Helper()
	out, err := c.try(nil, args...)
	if err == nil {
		c.t.Fatalf("%s %s: succeeded\n%s", filepath.Base(c.path), strings.Join(args, " "), out)
	}
	return err.Error()
}

// withTest returns the client for use in another test.
func (c client) withTest(t testing.TB) client {
	c.t = t
	return c
}

// refused runs the client with a standard input, requires an exit status, and returns its output.
func (c client) refused(code int, stdin string, args ...string) string {
	c.t.Helper()
	out, err := c.try([]byte(stdin), args...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		c.t.Fatalf("%s %s: succeeded\n%s", filepath.Base(c.path), strings.Join(args, " "), out)
	case !errors.As(err, &exit) || exit.ExitCode() != code:
		c.t.Fatalf("expected exit status %d: %v", code, err)
	}
	return err.Error()
}

// write writes a file into the client's home and returns its path.
func (c client) write(name string, content []byte) string {
	c.t.Helper()
	path := filepath.Join(c.home, name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// requireRequest requires that the log has a request of this client. An empty reference matches
// every reference, because the test does not know the ids of upload sessions.
func (s *server) requireRequest(agent, method, repository, reference string, status int) {
	s.t.Helper()
	s.Await(fmt.Sprintf("%s %s %s %d by %s", method, repository, reference, status, agent), func(l logLine) bool {
		return strings.HasPrefix(l.UserAgent, agent) && l.Method == method && l.Repository == repository &&
			(reference == "" || l.Reference == reference) && l.Status == status
	})
}

// requirePush requires that the client pushed at least one blob and a manifest.
func (s *server) requirePush(agent, repository, reference string) {
	s.t.Helper()
	s.requireRequest(agent, "POST", repository, "", http.StatusAccepted)
	s.requireRequest(agent, "PUT", repository, "", http.StatusCreated)
	s.requireRequest(agent, "PUT", repository, reference, http.StatusCreated)
}

// requireMount requires that a repository got a number of blobs by mounts from another one, and a
// number as bytes. Most clients always send the config. The push's last request must already be in
// the log.
func (s *server) requireMount(agent, repository string, mounted, sent int) {
	s.t.Helper()
	for status, want := range map[int]int{http.StatusCreated: mounted, http.StatusAccepted: sent} {
		posts := s.Requests(func(l logLine) bool {
			return strings.HasPrefix(l.UserAgent, agent) && l.Method == "POST" && l.Repository == repository && l.Status == status
		})
		if len(posts) != want {
			s.t.Errorf("%d POSTs into %s were answered %d, expected %d: %v", len(posts), repository, status, want, posts)
		}
	}
}

// requireNoRefusal requires that all requests succeeded, except those for missing content.
func (s *server) requireNoRefusal() {
	s.t.Helper()
	for _, l := range s.Requests(func(l logLine) bool { return l.Status >= 400 && l.Status != http.StatusNotFound }) {
		s.t.Errorf("refused: %s", l.Raw)
	}
}

// get fetches a path of the server and returns the body of a 200. Any other answer fails the test.
func (s *server) get(path string) (http.Header, []byte) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "berth-conformance")
	for _, t := range []string{"oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2", "docker.distribution.manifest.list.v2"} {
		req.Header.Add("Accept", "application/vnd."+t+"+json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s\n%s", path, resp.Status, body)
	}
	return resp.Header, body
}

// status returns the status of a HEAD request.
func (s *server) status(path string) int {
	s.t.Helper()
	resp, err := s.client.Head(s.URL + path)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// document has the fields that the tests read of manifests, indexes and lists of referrers.
type document struct {
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType"`
	Config       desc   `json:"config"`
	Layers       []desc `json:"layers"`
	Manifests    []desc `json:"manifests"`
	Subject      *desc  `json:"subject"`
}

type desc struct {
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType"`
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
	Platform     struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

// manifest fetches a manifest, and checks its digest and that the repository has every blob that it
// links.
func (s *server) manifest(repository, reference string) (digest string, doc document) {
	s.t.Helper()
	h, body := s.get("/v2/" + repository + "/manifests/" + reference)
	digest = h.Get("Docker-Content-Digest")
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(body)); digest != want && !strings.HasPrefix(digest, "sha512:") {
		s.t.Errorf("%s:%s has Docker-Content-Digest %q, its content %q", repository, reference, digest, want)
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		s.t.Fatalf("%s:%s: %v\n%s", repository, reference, err, body)
	}
	for _, d := range append(doc.Layers, doc.Config) {
		if d.Digest == "" {
			continue
		}
		if _, b := s.get("/v2/" + repository + "/blobs/" + d.Digest); int64(len(b)) != d.Size {
			s.t.Errorf("%s:%s: blob %s has %d bytes, the manifest says %d", repository, reference, d.Digest, len(b), d.Size)
		}
	}
	return digest, doc
}

// tags returns the tags of a repository.
func (s *server) tags(repository string) []string {
	s.t.Helper()
	_, body := s.get("/v2/" + repository + "/tags/list")
	var list struct{ Tags []string }
	if err := json.Unmarshal(body, &list); err != nil {
		s.t.Fatalf("%v\n%s", err, body)
	}
	return list.Tags
}

// referrers returns the artifact types of a manifest's referrers.
func (s *server) referrers(repository, digest string) []string {
	s.t.Helper()
	_, body := s.get("/v2/" + repository + "/referrers/" + digest)
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		s.t.Fatalf("%v\n%s", err, body)
	}
	var types []string
	for _, d := range doc.Manifests {
		types = append(types, d.ArtifactType)
	}
	return types
}

// buildContext is the build context of an image: a directory with a Dockerfile FROM scratch with
// several layers, and the output of a container of the image.
type buildContext struct {
	dir    string
	prints string
}

// newContext makes a build context with random content.
func newContext(t testing.TB) buildContext {
	t.Helper()
	dir := t.TempDir()
	hello, err := os.ReadFile(build(t, ".", "./testdata/hello"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"hello": hello, "a": randomBytes(t, 1), "b": randomBytes(t, 5<<20), "c": randomBytes(t, 100<<10)}
	dockerfile := "FROM scratch\nCOPY hello /hello\n"
	var prints strings.Builder
	for _, name := range []string{"a", "b", "c"} {
		dockerfile += "COPY " + name + " /content/" + name + "\n"
		fmt.Fprintf(&prints, "%x %s\n", sha256.Sum256(files[name]), name)
	}
	files["Dockerfile"] = []byte(dockerfile + "ENTRYPOINT [\"/hello\"]\n")
	for name, content := range files {
		// The program must be executable here: without BuildKit a Dockerfile cannot set the mode.
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return buildContext{dir: dir, prints: strings.TrimSpace(prints.String())}
}

// randomBytes returns n random bytes. They need not be repeatable, because no test depends on their
// values.
func randomBytes(t testing.TB, n int) []byte {
	t.Helper()
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

// tarball returns a layer: a tar archive of one file.
func tarball(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

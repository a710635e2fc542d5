package conformance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	cranePackage  = "github.com/google/go-containerregistry/cmd/crane"
	regctlPackage = "github.com/regclient/regclient/cmd/regctl"
	orasPackage   = "oras.land/oras/cmd/oras"
	helmPackage   = "helm.sh/helm/v3/cmd/helm"
	cosignPackage = "github.com/sigstore/cosign/v2/cmd/cosign"
)

// TestAuthCrane uses crane with a registry with users.
func TestAuthCrane(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	const agent = "crane/"
	alice, bob := goClient(t, clientModule, cranePackage), goClient(t, clientModule, cranePackage)
	ref := func(name string) string { return g.Addr + "/" + name }
	layer := alice.write("l.tar", tarball(t, "file", randomBytes(t, 100<<10)))
	login := func(c client, user, password string) {
		c.run("auth", "login", g.Addr, "--username", user, "--password", password)
	}

	ok := g.row(t, "row17_login", func(t *testing.T) {
		alice := alice.withTest(t)
		p := g.phase("")
		login(alice, "alice", g.wrong) // makes no request, so a wrong password is not noticed
		p.hasNone("GET", "login")
		p = g.phase(agent)
		requireSays(t, alice.refused(1, "", "digest", ref("alice/cr:1")), "UNAUTHORIZED", "wrong user name or password")
		p.has("login alice refused", "GET token 401")
		login(alice, "alice", g.alice.password)
		login(bob.withTest(t), "bob", g.bob.password)
	})

	ok = ok && g.row(t, "row18_append_copy_catalog_delete", func(t *testing.T) {
		alice := alice.withTest(t)
		p := g.phase(agent)
		alice.run("append", "--oci-empty-base", "--new_layer", layer, "--new_tag", ref("alice/cr:1"))
		p.inOrder("GET ping 401", "token user:alice repository:alice/cr:pull,push", "PUT upload alice/cr 201", "PUT manifest alice/cr 201")

		p = g.phase(agent)
		alice.run("copy", ref("alice/cr:1"), ref("alice/cr2:1"))
		p.has("POST uploads alice/cr2 201", "PUT manifest alice/cr2 201", "write user:alice PUT manifest alice/cr2")
		p.hasNone("PATCH")

		p = g.phase(agent)
		if got := strings.Fields(alice.run("catalog", g.Addr)); !slices.Equal(got, []string{"alice/cr", "alice/cr2"}) {
			t.Errorf("the catalog is %v", got)
		}
		p.inOrder("token user:alice registry:catalog:*", "GET catalog 200")

		digest, _ := g.manifest("alice/cr2", "1")
		p = g.phase(agent)
		alice.run("delete", ref("alice/cr2@"+digest))
		p.has("DELETE manifest alice/cr2 202", "write user:alice DELETE manifest alice/cr2")
	})

	_ = ok && g.row(t, "row19_denied", func(t *testing.T) {
		bob := bob.withTest(t)
		p := g.phase(agent)
		requireSays(t, bob.refused(1, "", "append", "--oci-empty-base", "--new_layer", layer, "--new_tag", ref("alice/cr3:1")), "401 Unauthorized")
		p.has("token user:bob", "denied user:bob pull alice/cr3") // it sends HEAD first
		p.requireNothingFrom("user:bob", "alice")
		p = g.phase(agent)
		requireSays(t, bob.refused(1, "", "catalog", g.Addr), "UNAUTHORIZED")
		p.has("denied user:bob catalog", "GET catalog 401")
	})
}

// TestAuthRegctl uses regctl with a registry with users.
func TestAuthRegctl(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	const agent = "regclient/regctl"
	c := goClient(t, clientModule, regctlPackage)
	c.env = append(c.env, "REGCTL_CONFIG="+filepath.Join(c.home, "regctl.json"))
	ref := func(name string) string { return g.Addr + "/" + name }

	ok := g.row(t, "row20_login", func(t *testing.T) {
		c := c.withTest(t)
		c.run("registry", "set", "--tls", "disabled", "--skip-check", g.Addr)
		login := []string{"registry", "login", g.Addr, "--user", "alice", "--pass-stdin"}
		p := g.phase(agent)
		requireSays(t, c.refused(1, g.wrong, login...), "unauthorized")
		p.inOrder("GET ping 401", "login alice refused", "GET token 401")
		p = g.phase(agent)
		c.feed([]byte(g.alice.password), login...)
		p.inOrder("GET ping 401", "token user:alice", "GET token 200", "GET ping 200")
	})

	_ = ok && g.row(t, "row21_artifact_copy_list_delete", func(t *testing.T) {
		c := c.withTest(t)
		file := c.write("file", randomBytes(t, 1000))
		p := g.phase(agent)
		c.run("artifact", "put", "--artifact-type", "application/vnd.example.a", "--file", file, ref("alice/rg:1"))
		p.has("token user:alice repository:alice/rg:pull,push", "POST uploads alice/rg 202", "PUT manifest alice/rg 201")
		p.hasTimes(0, "POST uploads alice/rg 201") // a mount without "from" finds no blob

		p = g.phase(agent)
		c.run("image", "copy", ref("alice/rg:1"), ref("alice/rg2:1"))
		p.has("POST uploads alice/rg2 201", "PUT manifest alice/rg2 201")
		p.hasNone("PATCH")

		if got := c.run("tag", "ls", ref("alice/rg")); got != "1" {
			t.Errorf("the tags are %s", got)
		}
		p = g.phase(agent)
		if got := strings.Fields(c.run("repo", "ls", g.Addr)); !slices.Equal(got, []string{"alice/rg", "alice/rg2"}) {
			t.Errorf("the catalog is %v", got)
		}
		p.inOrder("GET catalog 401", "token user:alice registry:catalog:*", "GET catalog 200")

		digest, _ := g.manifest("alice/rg2", "1")
		p = g.phase(agent)
		c.run("tag", "delete", ref("alice/rg2:1"))
		c.run("manifest", "delete", ref("alice/rg2@"+digest))
		p.hasTimes(2, "DELETE manifest alice/rg2 202")
	})
}

// TestAuthOras uses oras with a registry with users.
func TestAuthOras(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	const agent = "oras/"
	c := goClient(t, clientModule, orasPackage)
	c.dir = c.home // oras puts the paths of files as given into manifests
	ref := func(name string) string { return g.Addr + "/" + name }

	ok := g.row(t, "row22_login", func(t *testing.T) {
		c := c.withTest(t)
		login := []string{"login", "--plain-http", "--username", "alice", "--password-stdin", g.Addr}
		p := g.phase(agent)
		requireSays(t, c.refused(1, g.wrong, login...), "unauthorized")
		p.inOrder("GET ping 401", "login alice refused", "GET token 401")
		p = g.phase(agent)
		requireSays(t, c.feed([]byte(g.alice.password), login...), "Login Succeeded")
		p.inOrder("GET ping 401", "token user:alice", "GET token 200", "GET ping 200")
	})

	_ = ok && g.row(t, "row23_push_pull_copy_attach_list_delete", func(t *testing.T) {
		c := c.withTest(t)
		at := func(args ...string) string { return c.run(append(args, "--plain-http")...) }
		content := randomBytes(t, 100<<10)
		c.write("file", content)
		p := g.phase(agent)
		at("push", "--artifact-type", "application/vnd.example.a", ref("alice/or:1"), "file:text/plain")
		p.has("token user:alice repository:alice/or:pull,push", "PUT upload alice/or 201", "PUT manifest alice/or 201", "write user:alice PUT manifest alice/or")

		at("pull", "--output", "out", ref("alice/or:1"))
		if got, err := os.ReadFile(filepath.Join(c.home, "out", "file")); err != nil || string(got) != string(content) {
			t.Errorf("oras pulled %d other bytes, %v", len(got), err)
		}

		p = g.phase(agent)
		c.run("cp", "--from-plain-http", "--to-plain-http", ref("alice/or:1"), ref("alice/or2:1"))
		p.inOrder("POST uploads alice/or2 401", "token user:alice repository:alice/or2:pull,push repository:alice/or:pull", "POST uploads alice/or2 201")
		p.hasNone("PUT upload", "PATCH")

		p = g.phase(agent)
		at("attach", "--artifact-type", "application/vnd.example.s", ref("alice/or:1"), "file:text/plain")
		requireSays(t, at("discover", ref("alice/or:1")), "application/vnd.example.s")
		p.has("PUT manifest alice/or 201", "GET referrers alice/or 200")

		p = g.phase(agent)
		if got := strings.Fields(at("repo", "ls", g.Addr)); !slices.Equal(got, []string{"alice/or", "alice/or2"}) {
			t.Errorf("the catalog is %v", got)
		}
		if got := at("repo", "tags", ref("alice/or")); got != "1" {
			t.Errorf("the tags are %s", got)
		}
		at("manifest", "delete", "--force", ref("alice/or2:1"))
		p.has("token user:alice registry:catalog:*", "GET catalog 200", "GET tags alice/or 200", "DELETE manifest alice/or2 202")
	})
}

// TestAuthHelm uses helm with a registry with users.
func TestAuthHelm(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	const agent = "Helm/"
	alice, bob := goClient(t, helmModule, helmPackage), goClient(t, helmModule, helmPackage)
	chart := newChart(alice)
	repo := func(name string) string { return "oci://" + g.Addr + "/" + name }
	login := func(user string) []string {
		return []string{"registry", "login", g.Addr, "--username", user, "--password-stdin", "--plain-http"}
	}

	ok := g.row(t, "row24_login", func(t *testing.T) {
		alice := alice.withTest(t)
		p := g.phase("")
		requireSays(t, alice.refused(1, g.wrong, login("alice")...), "wrong user name or password")
		p.inOrder("GET ping 401", "login alice refused", "POST token 401", "login alice refused", "GET token 401")
		p = g.phase("")
		alice.feed([]byte(g.alice.password), login("alice")...)
		p.inOrder("GET ping 401", "token user:alice", "POST token 200", "GET ping 200")
		p.hasNone("GET token")
		bob.withTest(t).feed([]byte(g.bob.password), login("bob")...)
	})

	_ = ok && g.row(t, "row25_push_pull_show", func(t *testing.T) {
		alice := alice.withTest(t)
		p := g.phase(agent)
		alice.run("push", "--plain-http", chart, repo("alice/charts"))
		p.has("token user:alice repository:alice/charts/demo:pull,push", "PUT manifest alice/charts/demo 201", "write user:alice PUT manifest alice/charts/demo")
		out := t.TempDir()
		alice.run("pull", "--plain-http", "--destination", out, "--version", "0.1.0", repo("alice/charts/demo"))
		if got, want := readFile(t, filepath.Join(out, "demo-0.1.0.tgz")), readFile(t, chart); got != want {
			t.Errorf("helm pulled %d bytes, expected %d", len(got), len(want))
		}
		requireSays(t, alice.run("show", "chart", "--plain-http", "--version", "0.1.0", repo("alice/charts/demo")), "name: demo")
		p.has("GET manifest alice/charts/demo 200", "GET blob alice/charts/demo 200")

		p = g.phase(agent)
		requireSays(t, bob.withTest(t).refused(1, "", "push", "--plain-http", chart, repo("alice/charts")), "401")
		p.has("token user:bob")
		p.requireNothingFrom("user:bob", "alice")
	})
}

// newChart makes the chart demo 0.1.0 and returns its file.
func newChart(c client) string {
	c.t.Helper()
	c.dir = c.home
	c.run("create", "demo")
	c.run("package", "demo")
	return filepath.Join(c.home, "demo-0.1.0.tgz")
}

// readFile returns the content of a file.
func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAuthCosign signs an image in a registry with users.
func TestAuthCosign(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	const agent = "cosign/"
	alice, bob := goClient(t, cosignModule, cosignPackage), goClient(t, cosignModule, cosignPackage)
	image := newImageLayout(t, 100<<10)
	g.seed(image, "alice/app", "1")
	ref := g.Addr + "/alice/app@" + image.digest
	alice.login(g.Addr, g.alice)
	bob.login(g.Addr, g.bob)
	alice.env, bob.env = append(alice.env, "COSIGN_PASSWORD="), append(bob.env, "COSIGN_PASSWORD=")
	alice.dir = alice.home
	alice.run("generate-key-pair")
	key := filepath.Join(alice.home, "cosign.key")
	sign := []string{"sign", "--yes", "--tlog-upload=false", "--allow-http-registry", "--key", key, ref}

	g.row(t, "row26_sign_verify_tree", func(t *testing.T) {
		alice := alice.withTest(t)
		p := g.phase(agent)
		requireSays(t, bob.withTest(t).refused(1, "", sign...), "UNAUTHORIZED")
		p.has("token user:bob")
		p.requireNothingFrom("user:bob", "alice")

		p = g.phase(agent)
		alice.run(sign...)
		p.has("token user:alice repository:alice/app:pull,push", "PUT manifest alice/app 201", "write user:alice PUT manifest alice/app")
		p = g.phase(agent)
		requireSays(t, alice.run("verify", "--insecure-ignore-tlog=true", "--allow-http-registry", "--key", filepath.Join(alice.home, "cosign.pub"), ref), image.digest)
		requireSays(t, alice.run("tree", "--allow-http-registry", ref), "Signatures")
		p.has("token user:alice repository:alice/app:pull", "GET manifest alice/app 200")
	})
}

package conformance

import (
	"strings"
	"testing"
)

// TestAuthDocker uses a Docker Engine with a registry with users.
func TestAuthDocker(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	g := startAuthServer(t, options{})
	const agent = "docker/"
	alice, bob, nobody := d.fresh(), d.fresh(), d.fresh()
	i := newContext(t)
	ref := func(name string) string { return g.Addr + "/" + name }
	d.run("build", "--tag", ref("alice/app:1"), i.dir)
	g.seed(newImageLayout(t, 1000), "public/pub", "1")
	const denied = "denied: requested access to the resource is denied"
	pullDenied := func(repo string) string {
		return "pull access denied for " + ref(repo) + ", repository does not exist or may require 'docker login': " + denied
	}

	ok := g.row(t, "row01_login", func(t *testing.T) {
		alice := alice.withTest(t)
		p := g.phase(agent)
		requireSays(t, alice.refused(1, g.wrong, "login", "--username", "alice", "--password-stdin", g.Addr), "unauthorized: ")
		p.inOrder("GET ping 401", "login alice refused", "GET token 401")
		p.hasTimes(0, "GET ping 200")
		p = g.phase(agent)
		requireSays(t, alice.feed([]byte(g.alice.password), "login", "--username", "alice", "--password-stdin", g.Addr), "Login Succeeded")
		p.inOrder("GET ping 401", "login user:alice ok", "token user:alice", "GET token 200", "GET ping 200")
	})

	ok = ok && g.row(t, "row02_push", func(t *testing.T) {
		p := g.phase(agent)
		alice.withTest(t).run("push", ref("alice/app:1"))
		p.inOrder("GET ping 401", "token user:alice repository:alice/app:pull,push", "GET token 200",
			"PUT upload alice/app 201", "PUT manifest alice/app 201")
		p.has("write user:alice PUT upload alice/app", "write user:alice PUT manifest alice/app")
		p.hasTimes(1, "GET token 200")
		if _, doc := g.manifest("alice/app", "1"); len(doc.Layers) != 4 {
			t.Errorf("docker pushed %d layers", len(doc.Layers))
		}
	})

	ok = ok && g.row(t, "row03_mount", func(t *testing.T) {
		p := g.phase(agent)
		alice := alice.withTest(t)
		alice.run("tag", ref("alice/app:1"), ref("alice/app2:1"))
		if out := alice.run("push", ref("alice/app2:1")); strings.Count(out, "Mounted from alice/app") != 4 {
			t.Errorf("docker did not mount its 4 layers:\n%s", out)
		}
		p.has("token user:alice repository:alice/app2:pull,push repository:alice/app:pull")
		p.hasTimes(4, "POST uploads alice/app2 201")
	})

	ok = ok && g.row(t, "row04_push_of_another", func(t *testing.T) {
		p := g.phase(agent)
		bob := bob.withTest(t)
		bob.feed([]byte(g.bob.password), "login", "--username", "bob", "--password-stdin", g.Addr)
		bob.run("tag", ref("alice/app:1"), ref("bob/app:1"))
		bob.run("push", ref("bob/app:1"))
		p.hasTimes(5, "PUT upload bob/app 201") // including the layers that alice has
		p.hasTimes(0, "POST uploads bob/app 201")
		p.requireNothingFrom("user:bob", "alice")
	})

	ok = ok && g.row(t, "row05_push_denied", func(t *testing.T) {
		p := g.phase(agent)
		bob := bob.withTest(t)
		bob.run("tag", ref("bob/app:1"), ref("alice/x:1"))
		requireSays(t, bob.refused(1, "", "push", ref("alice/x:1")), denied)
		p.has("token user:bob", "denied user:bob push alice/x", "POST uploads alice/x 401")
		p.requireNothingFrom("user:bob", "alice")
	})

	ok = ok && g.row(t, "row06_pull_denied", func(t *testing.T) {
		for _, repo := range []string{"alice/app", "alice/absent"} {
			p := g.phase(agent)
			requireSays(t, bob.withTest(t).refused(1, "", "pull", ref(repo+":1")), pullDenied(repo))
			p.has("token user:bob", "denied user:bob pull "+repo)
			p.requireNothingFrom("user:bob", "alice")
		}
	})

	ok = ok && g.row(t, "row07_logout", func(t *testing.T) {
		alice := alice.withTest(t)
		alice.run("logout", g.Addr)
		p := g.phase(agent)
		alice.run("pull", ref("public/pub:1"))
		p.inOrder("GET ping 401", "token anonymous repository:public/pub:pull", "GET token 200")
		requireSays(t, alice.refused(1, "", "pull", ref("alice/app:1")), pullDenied("alice/app"))
		p.has("token anonymous", "denied anonymous pull alice/app")
	})

	ok = ok && g.row(t, "row08_wrong_password_stored", func(t *testing.T) {
		nobody := nobody.withTest(t)
		nobody.login(g.Addr, account{"alice", g.wrong})
		p := g.phase(agent)
		requireSays(t, nobody.refused(1, "", "pull", ref("public/pub:1")), "unauthorized")
		p.inOrder("GET ping 401", "login alice refused", "GET token 401")
		p.hasNone("token anonymous", "GET manifest", "HEAD manifest")
	})

	_ = ok && g.row(t, "row09_manifest_inspect", func(t *testing.T) {
		alice := alice.withTest(t)
		alice.login(g.Addr, g.alice)
		alice.env = append(alice.env, "DOCKER_CLI_EXPERIMENTAL=enabled")
		p := g.phase("Docker-Client/")
		digest, _ := g.manifest("alice/app", "1")
		requireSays(t, alice.run("manifest", "inspect", "--verbose", "--insecure", ref("alice/app:1")), digest)
		p.has("GET ping 401", "GET manifest alice/app 200")
	})
}

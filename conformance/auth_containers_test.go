package conformance

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestAuthSkopeo uses skopeo with a registry with users.
func TestAuthSkopeo(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	const agent = "skopeo/"
	k := containersClient(t, "skopeo", g.server)
	nobody := containersClient(t, "skopeo", g.server)
	ref := func(name string) string { return "docker://" + g.Addr + "/" + name }
	image := newImageLayout(t, 100<<10)
	g.seed(image, "alice/app", "1")
	g.seed(image, "public/pub", "1")

	ok := g.row(t, "row10_login", func(t *testing.T) {
		login := []string{"login", "--tls-verify=false", "--username", "alice", "--password-stdin", g.Addr}
		p := g.phase(agent)
		requireSays(t, k.withTest(t).refused(1, g.wrong, login...), "invalid username/password")
		p.inOrder("GET ping 401", "login alice refused", "GET token 401")
		p = g.phase(agent)
		requireSays(t, k.withTest(t).feed([]byte(g.alice.password), login...), "Login Succeeded!")
		p.inOrder("GET ping 401", "token user:alice", "GET token 200", "GET ping 200")
	})

	ok = ok && g.row(t, "row11_copy", func(t *testing.T) {
		cp := []string{"copy", "--src-tls-verify=false", "--dest-tls-verify=false", ref("alice/app:1")}
		p := g.phase(agent)
		k.withTest(t).run(append(cp, ref("alice/sk:1"))...)
		p.has("token user:alice repository:alice/app:pull", "GET manifest alice/app 200",
			"token user:alice repository:alice/sk:pull,push", "PUT upload alice/sk 201", "write user:alice PUT manifest alice/sk")
		if digest, _ := g.manifest("alice/sk", "1"); digest != image.digest {
			t.Errorf("the copy of %s is %s", image.digest, digest)
		}
		// Now it knows where the layer is.
		p = g.phase(agent)
		k.withTest(t).run(append(cp, ref("alice/sk2:1"))...)
		p.has("POST uploads alice/sk2 201", "PUT manifest alice/sk2 201")
	})

	ok = ok && g.row(t, "row12_list_inspect_delete", func(t *testing.T) {
		k := k.withTest(t)
		var list struct{ Tags []string }
		p := g.phase(agent)
		if err := json.Unmarshal([]byte(k.run("list-tags", "--tls-verify=false", ref("alice/sk"))), &list); err != nil || !slices.Equal(list.Tags, []string{"1"}) {
			t.Errorf("skopeo lists %v, %v", list.Tags, err)
		}
		p.inOrder("token user:alice repository:alice/sk:pull", "GET tags alice/sk 200")
		if got := k.run("inspect", "--tls-verify=false", "--format", "{{.Digest}}", ref("alice/sk:1")); got != image.digest {
			t.Errorf("skopeo inspects %s, expected %s", got, image.digest)
		}
		p = g.phase(agent)
		k.run("delete", "--tls-verify=false", ref("alice/sk:1"))
		p.has("token user:alice repository:alice/sk:delete,pull,push", "DELETE manifest alice/sk 202", "write user:alice DELETE manifest alice/sk")
		if got := g.tags("alice/sk"); len(got) != 0 {
			t.Errorf("after the deletion there are still %v", got)
		}
	})

	_ = ok && g.row(t, "row13_anonymous", func(t *testing.T) {
		p := g.phase(agent)
		if got := nobody.withTest(t).run("inspect", "--tls-verify=false", "--raw", ref("public/pub:1")); got != string(image.blob(t, image.digest)) {
			t.Errorf("skopeo reads %s", got)
		}
		p.inOrder("GET ping 401", "token anonymous repository:public/pub:pull", "GET manifest public/pub 200")
		requireSays(t, nobody.withTest(t).refused(1, "", "inspect", "--tls-verify=false", "--raw", ref("alice/app:1")), "unauthorized")
		p.has("denied anonymous pull alice/app")
	})
}

// TestAuthPodman uses podman with a registry with users.
func TestAuthPodman(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	const agent = "containers/"
	k := containersClient(t, "podman", g.server)
	nobody := containersClient(t, "podman", g.server)
	ref := func(name string) string { return g.Addr + "/" + name }
	image := newImageLayout(t, 100<<10)
	g.seed(image, "alice/app", "1")
	g.seed(image, "public/pub", "1")

	ok := g.row(t, "row14_login_pull_push", func(t *testing.T) {
		k := k.withTest(t)
		login := []string{"login", "--tls-verify=false", "--username", "alice", "--password-stdin", g.Addr}
		p := g.phase(agent)
		requireSays(t, k.refused(125, g.wrong, login...), "invalid username/password")
		p.inOrder("GET ping 401", "login alice refused", "GET token 401")
		p = g.phase(agent)
		requireSays(t, k.feed([]byte(g.alice.password), login...), "Login Succeeded!")
		p.inOrder("GET ping 401", "token user:alice", "GET token 200", "GET ping 200")
		p = g.phase(agent)
		k.run("pull", "--tls-verify=false", ref("alice/app:1"))
		p.inOrder("token user:alice repository:alice/app:pull", "GET manifest alice/app 200")
		p = g.phase(agent)
		k.run("push", "--tls-verify=false", ref("alice/app:1"), ref("alice/pod:1"))
		p.inOrder("token user:alice repository:alice/pod:pull,push", "PUT manifest alice/pod 201")
	})

	ok = ok && g.row(t, "row15_search", func(t *testing.T) {
		p := g.phase(agent)
		out := k.withTest(t).run("search", "--tls-verify=false", ref("app"))
		requireSays(t, out, ref("alice/app"))
		if strings.Contains(out, "pub") {
			t.Errorf("a search for app finds\n%s", out)
		}
		p.inOrder("GET catalog 401", "token user:alice registry:catalog:*", "GET catalog 200")
	})

	_ = ok && g.row(t, "row16_anonymous", func(t *testing.T) {
		nobody := nobody.withTest(t)
		p := g.phase(agent)
		nobody.run("pull", "--tls-verify=false", ref("public/pub:1"))
		p.inOrder("GET ping 401", "token anonymous repository:public/pub:pull", "GET manifest public/pub 200")
		p = g.phase(agent)
		requireSays(t, nobody.refused(125, "", "pull", "--tls-verify=false", ref("alice/app:1")), "unauthorized")
		p.has("token anonymous", "denied anonymous pull alice/app")
	})
}

// TestAuthBuildah logs in and pushes with buildah. It has no row in the table.
func TestAuthBuildah(t *testing.T) {
	t.Parallel()
	g := startAuthServer(t, options{})
	b := containersClient(t, "buildah", g.server)
	login := []string{"login", "--tls-verify=false", "--username", "bob", "--password-stdin", g.Addr}
	p := g.phase("") // its login has another User-Agent than its push
	requireSays(t, b.refused(125, g.wrong, login...), "invalid username/password")
	p.inOrder("GET ping 401", "login bob refused", "GET token 401")
	requireSays(t, b.feed([]byte(g.bob.password), login...), "Login Succeeded!")

	container := b.run("from", "scratch")
	b.run("copy", container, b.write("file", randomBytes(t, 100<<10)), "/content")
	b.run("commit", "--rm", container, "image")
	p = g.phase("Buildah/")
	b.run("push", "--tls-verify=false", "image", "docker://"+g.Addr+"/bob/bud:1")
	p.inOrder("token user:bob repository:bob/bud:pull,push", "PUT manifest bob/bud 201")
	p = g.phase("Buildah/")
	requireSays(t, b.refused(125, "", "push", "--tls-verify=false", "image", "docker://"+g.Addr+"/alice/bud:1"), "denied")
	p.has("token user:bob")
	p.requireNothingFrom("user:bob", "alice")
}

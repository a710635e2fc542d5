package conformance

import (
	"archive/tar"
	"bytes"
	"os"
	"testing"
)

// ctr returns containerd's client with the containerd of a Docker Engine.
func (d docker) ctr() client {
	d.t.Helper()
	c := debianClient(d.t, "ctr", "containerd")
	c.env = append(c.env, "CONTAINERD_ADDRESS="+d.containerd, "CONTAINERD_NAMESPACE=berth")
	return c
}

// archive writes the layout as a tar archive that containerd can import.
func (l layout) archive(c client, name string) string {
	c.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(l.dir)); err != nil {
		c.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		c.t.Fatal(err)
	}
	return c.write(name, b.Bytes())
}

// TestAuthContainerd uses ctr with a registry with users.
func TestAuthContainerd(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	g := startAuthServer(t, options{})
	c := d.ctr()
	const agent = "containerd/"
	ref := func(name string) string { return g.Addr + "/" + name }
	image := newImageLayout(t, 100<<10)
	g.seed(image, "alice/only", "1")
	pull := func(user, password, name string) []string {
		return []string{"images", "pull", "--snapshotter", "native", "--plain-http", "--user", user + ":" + password, ref(name)}
	}
	push := func(a account, name, local string) []string {
		return []string{"images", "push", "--plain-http", "--user", a.name + ":" + a.password, ref(name), ref(local)}
	}

	ok := g.row(t, "row27_pull_push", func(t *testing.T) {
		c := c.withTest(t)
		p := g.phase(agent)
		requireSays(t, c.refused(1, "", pull("alice", g.wrong, "alice/only:1")...), "401 Unauthorized")
		p.inOrder("login alice refused", "POST token 401", "login alice refused", "GET token 401")

		p = g.phase(agent)
		requireSays(t, c.refused(1, "", pull("bob", g.bob.password, "alice/only:1")...), "insufficient_scope: authorization failed")
		p.has("POST token 200", "denied user:bob pull alice/only")
		p.requireNothingFrom("user:bob", "alice")

		p = g.phase(agent)
		c.run(pull("alice", g.alice.password, "alice/only:1")...)
		p.inOrder("HEAD manifest alice/only 401", "token user:alice repository:alice/only:pull", "POST token 200", "GET blob alice/only 200")
		p.hasNone("GET token")

		p = g.phase(agent)
		c.run(push(g.alice, "alice/copy:1", "alice/only:1")...)
		p.has("token user:alice repository:alice/copy:pull,push repository:alice/only:pull", "POST token 200", "POST uploads alice/copy 201", "PUT manifest alice/copy 201", "write user:alice PUT manifest alice/copy")

		p = g.phase(agent)
		requireSays(t, c.refused(1, "", push(g.bob, "alice/x:1", "alice/only:1")...), "insufficient_scope: authorization failed")
		p.has("denied user:bob push alice/x")
		p.requireNothingFrom("user:bob", "alice")
	})

	// containerd asks for a mount from the image's first repository, and fails if the answer is
	// 401.
	_ = ok && g.row(t, "row28_mount_refused", func(t *testing.T) {
		p := g.phase(agent)
		c.withTest(t).run(push(g.bob, "bob/only:1", "alice/only:1")...)
		p.has("POST uploads bob/only 202", "PUT upload bob/only 201", "PUT manifest bob/only 201", "write user:bob PUT manifest bob/only")
		p.hasTimes(0, "POST uploads bob/only 201")
		p.hasTimes(0, "POST uploads bob/only 401")
		p.requireNothingFrom("user:bob", "alice")
	})
}

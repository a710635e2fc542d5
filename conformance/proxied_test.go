package conformance

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// startProxied starts a server with users that trusts proxies on this machine.
func startProxied(t *testing.T) *authServer {
	t.Helper()
	return startAuthServer(t, options{Args: []string{"--http-trusted-proxies", "127.0.0.1", "--manifests-max-size", "64KiB"}})
}

// TestProxies pushes and pulls through each proxy of docs/operate.md, over HTTP/1.1 and HTTP/2.
func TestProxies(t *testing.T) {
	t.Parallel()
	g := startProxied(t)
	for _, program := range proxyPrograms {
		g.row(t, program.name, func(t *testing.T) {
			p := startProxy(t, program, g.server)
			for i, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
				client := p.client(i == 1, g.alice)
				resp, err := client.Get("https://" + proxied + "/v2/")
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK || resp.Proto != proto {
					t.Fatalf("a ping is answered %s %d, expected %s", resp.Proto, resp.StatusCode, proto)
				}
				pushAndPull(t, &caller{base: "https://" + proxied, http: client}, program.name, uint64(i))
			}
			// The challenge must have the address of the proxy.
			challenge := p.ask(refusal{method: "GET", path: "/v2/", status: http.StatusUnauthorized}, 0, false).header.Get("WWW-Authenticate")
			if !strings.HasPrefix(challenge, `Bearer realm="https://`+proxied+`/v2/auth"`) {
				t.Errorf("the challenge is %s", challenge)
			}
		})
	}
}

// pushAndPull pushes two layers, one with a Content-Length and one chunked, and a manifest, and
// pulls them.
func pushAndPull(t *testing.T, c *caller, name string, number uint64) {
	t.Helper()
	repo := "alice/" + name
	layers := []content{newContent(2*number, 20<<20, digest.SHA256), newContent(2*number+1, 3<<20, digest.SHA256)}
	for i, layer := range layers {
		s, a := c.open(repo, "")
		if a.status != http.StatusAccepted {
			t.Fatalf("POST: %v", a)
		}
		if a = c.patch(s, layer, 0, layer.size, i == 0); a.status != http.StatusAccepted {
			t.Fatalf("PATCH: %v", a)
		}
		if a = c.put(c.sessionAt(a), layer, layer.size); a.status != http.StatusCreated {
			t.Fatalf("PUT: %v", a)
		}
	}
	payload := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, layers[1].digest, layers[1].size)
	if a := c.putManifest(repo, "v1", "application/vnd.oci.image.manifest.v1+json", payload); a.status != http.StatusCreated {
		t.Fatalf("PUT: %v", a)
	}
	if a := c.do(request{method: "GET", path: "/v2/" + repo + "/manifests/v1"}); string(a.body) != string(payload) {
		t.Errorf("the manifest is %v", a)
	}
	for _, layer := range layers {
		a := c.do(request{method: "GET", path: "/v2/" + repo + "/blobs/" + layer.digest.String()})
		if a.err != nil || a.status != http.StatusOK || digest.FromBytes(a.body) != layer.digest {
			t.Errorf("of a blob of %d bytes %d came back, with %d, %v", layer.size, len(a.body), a.status, a.err)
		}
	}
}

// TestProxyDocker uses a Docker Engine through nginx.
func TestProxyDocker(t *testing.T) {
	t.Parallel()
	d := startDocker(t)
	g := startProxied(t)
	p := startProxy(t, proxyPrograms[0], g.server)
	d.login(p.addr, g.alice)
	ref := p.addr + "/alice/docker:1" // Docker accepts any certificate on loopback
	d.run("import", d.write("layer.tar", tarball(t, "content", randomBytes(t, 5<<20))), ref)
	d.run("push", ref)
	g.requirePush("docker/", "alice/docker", "1")
	d.run("rmi", ref)
	d.run("pull", ref)
	digest, doc := g.manifest("alice/docker", "1")
	g.requireRequest("docker/", "GET", "alice/docker", digest, http.StatusOK)
	g.requireRequest("docker/", "GET", "alice/docker", doc.Layers[0].Digest, http.StatusOK)
}

// refusal is a request that is answered before its body is read.
type refusal struct {
	status       int
	method, path string
	header       string // "%d" in it stands for the last byte's offset of a chunk that begins at 5
}

// TestProxyEarlyAnswers: an answer that the server sends before it has read the body reaches the
// client unchanged through each proxy.
func TestProxyEarlyAnswers(t *testing.T) {
	g := startProxied(t)
	alice := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(g.alice.name+":"+g.alice.password)) + "\r\n"
	s, a := (&caller{base: g.URL, http: g.as(g.alice)}).open("alice/app", "")
	if a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	session := strings.TrimPrefix(s.url, g.URL)
	refusals := []refusal{
		{401, "PATCH", session, "Authorization: Bearer stale\r\n"},
		{404, "PATCH", "/v2/alice/app/blobs/uploads/none", alice},
		{413, "PUT", "/v2/alice/app/manifests/v1", alice},
		{416, "PATCH", session, alice + "Content-Range: 5-%d\r\n"},
	}
	full := refusal{507, "POST", "/v2/alice/app/blobs/uploads/?digest=" + digest.FromString("").String(), alice}

	for _, program := range proxyPrograms {
		g.row(t, program.name, func(t *testing.T) {
			p := startProxy(t, program, g.server)
			rounds := 8
			if program.name == "haproxy" || program.name == "caddy" {
				rounds = 1 // these check for an answer while they send
			}
			p.refuse(t, refusals, rounds)
			g.Stop()
			g.opts.Env = []string{"BERTH_STORAGE_MIN_FREE=900TiB"}
			g.Restart()
			p.refuse(t, []refusal{full}, rounds)
			g.Stop()
			g.opts.Env = nil
			g.Restart()
		})
	}
}

// refuse sends each request many times, with small and large bodies, with and without a
// Content-Length, and requires exactly its answer each time.
func (p *proxy) refuse(t *testing.T, refusals []refusal, rounds int) {
	t.Helper()
	for _, size := range []int{100 << 10, 1 << 20, 16 << 20, 64 << 20} {
		if size == 64<<20 {
			rounds = max(rounds/2, 1)
		}
		for _, chunked := range []bool{false, true} {
			for _, r := range refusals {
				counts := make(map[string]int)
				var mu sync.Mutex
				var wg sync.WaitGroup
				for range rounds {
					wg.Go(func() {
						a := p.ask(r, size, chunked)
						got := fmt.Sprint(a.status)
						if a.err != nil || !strings.Contains(string(a.body), `{"errors":[{`) {
							got = a.String()
						}
						mu.Lock()
						defer mu.Unlock()
						counts[got]++
					})
				}
				wg.Wait()
				if counts[fmt.Sprint(r.status)] != rounds {
					t.Errorf("%s with %d bytes (chunked: %v) is answered %v, expected %d times %d", r.method, size, chunked, counts, rounds, r.status)
				}
			}
		}
	}
}

// ask sends a request by HTTP/1.1 and reads the answer while it sends the body.
func (p *proxy) ask(r refusal, size int, chunked bool) answer {
	conn, err := tls.Dial("tcp", p.addr, p.tls())
	if err != nil {
		return answer{err: err}
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return answer{err: err}
	}
	go p.send(conn, r, size, chunked)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: body, err: err}
}

// send sends a request, until the other side stops reading.
func (p *proxy) send(conn io.Writer, r refusal, size int, chunked bool) {
	framing, end := fmt.Sprintf("Content-Length: %d", size), ""
	if chunked {
		framing, end = "Transfer-Encoding: chunked", "0\r\n\r\n"
	}
	header := strings.ReplaceAll(r.header, "%d", fmt.Sprint(5+size-1))
	_, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n\r\n", r.method, r.path, proxied, header, framing)
	piece := make([]byte, 64<<10)
	for err == nil && size > 0 {
		n := min(size, len(piece))
		size -= n
		if chunked {
			_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", n, piece[:n])
		} else {
			_, err = conn.Write(piece[:n])
		}
	}
	if err == nil {
		io.WriteString(conn, end)
	}
}

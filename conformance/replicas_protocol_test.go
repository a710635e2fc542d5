package conformance

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// callers returns a caller of each replica.
func (r *replicas) callers() []*caller {
	var all []*caller
	for _, s := range r.list {
		all = append(all, &caller{base: s.URL, http: r.client})
	}
	return all
}

// at returns the session as another replica has it.
func (s session) at(from, to *caller) session {
	return session{url: to.base + strings.TrimPrefix(s.url, from.base)}
}

// require fails the test unless the answer has the status.
func (a answer) require(t testing.TB, status int, what string, args ...any) answer {
	t.Helper()
	if a.err != nil || a.status != status {
		t.Fatalf("%s: %v, expected %d", fmt.Sprintf(what, args...), a, status)
	}
	return a
}

// imageOf returns a manifest with the first blob as its config and the others as layers.
func imageOf(t testing.TB, config content, layers ...content) []byte {
	t.Helper()
	list := []any{}
	for _, l := range layers {
		list = append(list, descriptor(ociLayer, l.digest, l.size))
	}
	return encode(t, map[string]any{"schemaVersion": 2, "mediaType": ociManifest,
		"config": descriptor(ociConfig, config.digest, config.size), "layers": list})
}

// TestReplicas uses three replicas directly, so that each request goes where its result is not yet
// known.
func TestReplicas(t *testing.T) {
	t.Parallel()
	r := startReplicas(t, 3, sharedStores(t))
	for name, test := range map[string]func(*testing.T, *replicas){
		"ParallelLayers": testParallelLayers, "ScatteredChunks": testScatteredChunks,
		"MovedTag": testMovedTag, "DeletedManifest": testDeletedManifest, "DeletedBlob": testDeletedBlob,
	} {
		t.Run(name, func(t *testing.T) { test(t, r) })
	}
	t.Run("KilledInMidUpload", func(t *testing.T) { testKilledInMidUpload(t, r) }) // the last one
}

// testParallelLayers pushes layers to different replicas at the same time, and at once the manifest
// to a replica that has seen none of them.
func testParallelLayers(t *testing.T, r *replicas) {
	call := r.callers()
	for round := range 5 {
		repo := fmt.Sprintf("parallel/%d", round)
		var layers []content
		var wg sync.WaitGroup
		pushed := make([]answer, 8)
		for i := range pushed {
			layers = append(layers, newContent(uint64(1000+100*round+i), 100<<10, digest.SHA256))
			wg.Go(func() { pushed[i] = call[i%2].post(repo, layers[i]) })
		}
		wg.Wait()
		for i, a := range pushed {
			a.require(t, http.StatusCreated, "layer %d", i)
		}
		payload := imageOf(t, layers[0], layers[1:]...)
		call[2].putManifest(repo, "v1", ociManifest, payload).require(t, http.StatusCreated, "the manifest at the third replica")
		for i, c := range call {
			if a := c.do(request{method: "GET", path: "/v2/" + repo + "/manifests/v1"}); string(a.body) != string(payload) {
				t.Errorf("replica %d has %v", i, a)
			}
		}
	}
}

// testScatteredChunks sends each chunk of an upload, and the closing PUT with the last one, to
// another replica than the request before.
func testScatteredChunks(t *testing.T, r *replicas) {
	call := r.callers()
	const chunk = 300 << 10
	for round, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		b := newContent(uint64(2000+round), 7*chunk, alg)
		s, a := call[0].open("scattered", "")
		a.require(t, http.StatusAccepted, "POST")
		from, offset := call[0], int64(0)
		for i := 1; offset < 6*chunk; i++ {
			to := call[i%3]
			if got, a := to.received(s.at(from, to)); got != offset {
				t.Fatalf("before chunk %d the next replica has %d bytes, expected %d: %v", i, got, offset, a)
			}
			a := to.patch(s.at(from, to), b, offset, chunk, true).require(t, http.StatusAccepted, "chunk %d", i)
			s, from, offset = to.sessionAt(a), to, offset+chunk
		}
		to := call[2]
		if from == to {
			to = call[1]
		}
		to.put(s.at(from, to), b, offset).require(t, http.StatusCreated, "the closing PUT")
		for i, c := range call {
			value, wrong, err := c.read(place{blobKind, "scattered", b.digest.String()}, "")
			if value != b.digest.String() || wrong != "" || err != nil {
				t.Errorf("replica %d has %q, %s, %v", i, value, wrong, err)
			}
		}
		// A client that did not get the answer asks another replica again.
		call[0].put(s.at(from, call[0]), b, b.size).require(t, http.StatusCreated, "the closing PUT again")
	}
}

// testMovedTag moves a tag at one replica after the other. Once that is acknowledged each replica
// has the new manifest, also one that has served the old one.
func testMovedTag(t *testing.T, r *replicas) {
	call := r.callers()
	config := newContent(3000, 100, digest.SHA256)
	call[0].post("moved", config).require(t, http.StatusCreated, "the config")
	tag := place{tagKind, "moved", "latest"}
	for i := range 30 {
		payload := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"annotations":{"n":"%d"},`+
			`"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`, ociManifest, i, ociConfig, config.digest, config.size)
		call[i%3].putManifest("moved", "latest", ociManifest, payload).require(t, http.StatusCreated, "move %d", i)
		for j, c := range call {
			if value, wrong, err := c.read(tag, ""); value != sha256Of(payload).String() || wrong != "" || err != nil {
				t.Fatalf("after move %d at replica %d, replica %d has %q, %s, %v", i, i%3, j, value, wrong, err)
			}
		}
	}
	call[0].do(request{method: "DELETE", path: "/v2/moved/manifests/latest"}).require(t, http.StatusAccepted, "DELETE of the tag")
	for j, c := range call {
		c.do(request{method: "GET", path: "/v2/moved/manifests/latest"}).require(t, http.StatusNotFound, "the deleted tag at replica %d", j)
	}
}

// testDeletedManifest deletes manifests that each replica has just served.
func testDeletedManifest(t *testing.T, r *replicas) {
	call := r.callers()
	for i := range 10 {
		config := newContent(uint64(4000+i), 100, digest.SHA256)
		call[i%3].post("deleted", config).require(t, http.StatusCreated, "the config")
		payload := imageOf(t, config)
		call[i%3].putManifest("deleted", "v1", ociManifest, payload).require(t, http.StatusCreated, "PUT %d", i)
		paths := []string{"/v2/deleted/manifests/" + sha256Of(payload).String(), "/v2/deleted/manifests/v1"}
		for _, status := range []int{http.StatusOK, http.StatusNotFound} {
			for j, c := range call {
				for _, path := range paths {
					c.do(request{method: "GET", path: path}).require(t, status, "manifest %d at replica %d, %s", i, j, path)
				}
			}
			if status == http.StatusOK {
				call[(i+1)%3].do(request{method: "DELETE", path: paths[0]}).require(t, http.StatusAccepted, "DELETE %d", i)
			}
		}
	}
}

// testDeletedBlob deletes a blob at one replica and pushes it again at another.
func testDeletedBlob(t *testing.T, r *replicas) {
	call := r.callers()
	b := newContent(5000, 50<<10, digest.SHA256)
	path := "/v2/deleted/blobs/" + b.digest.String()
	for i := range 6 {
		call[i%3].post("deleted", b).require(t, http.StatusCreated, "push %d", i)
		call[(i+1)%3].do(request{method: "GET", path: path}).require(t, http.StatusOK, "GET %d", i)
		call[(i+2)%3].do(request{method: "DELETE", path: path}).require(t, http.StatusAccepted, "DELETE %d", i)
		for j, c := range call {
			c.do(request{method: "GET", path: path}).require(t, http.StatusNotFound, "the deleted blob at replica %d", j)
		}
	}
}

// testKilledInMidUpload kills a replica while it receives a chunk. The client goes on at another one
// from where that says.
func testKilledInMidUpload(t *testing.T, r *replicas) {
	const acknowledged = 256 << 10
	b := newContent(6000, 4<<20, digest.SHA256)
	for victim := range 2 {
		call := r.callers()
		dies, lives := call[victim], call[2]
		s, a := dies.open("killed", "")
		a.require(t, http.StatusAccepted, "POST")
		a = dies.patch(s, b, 0, acknowledged, true).require(t, http.StatusAccepted, "the first chunk")
		s = dies.sessionAt(a)
		killInMidPatch(t, r.list[victim], s, b, acknowledged)

		s = s.at(dies, lives)
		got, a := lives.received(s)
		if got < acknowledged {
			t.Fatalf("%d bytes were acknowledged, the other replica has %d: %v", acknowledged, got, a)
		}
		a = lives.patch(s, b, got, b.size-got, true).require(t, http.StatusAccepted, "the rest at another replica")
		lives.put(lives.sessionAt(a), b, b.size).require(t, http.StatusCreated, "the closing PUT")
		// nginx sends no request to the dead one that a living one does not get.
		for i := range 6 {
			a := (&caller{base: r.URL, http: r.client}).do(request{method: "GET", path: "/v2/killed/blobs/" + b.digest.String()})
			if a.err != nil || a.status != http.StatusOK || digest.FromBytes(a.body) != b.digest {
				t.Errorf("pull %d through nginx: %d bytes, %d, %v", i, len(a.body), a.status, a.err)
			}
		}
		r.list[victim].Restart()
		r.callers()[victim].do(request{method: "GET", path: "/v2/killed/blobs/" + b.digest.String()}).require(t, http.StatusOK, "a pull from the restarted replica")
		call[0].do(request{method: "DELETE", path: "/v2/killed/blobs/" + b.digest.String()}).require(t, http.StatusAccepted, "DELETE")
	}
}

// killInMidPatch sends a part of a chunk, kills the server when it has begun to read, and requires
// that the client gets no answer of success.
func killInMidPatch(t *testing.T, s *server, to session, b content, offset int64) {
	t.Helper()
	body, w := io.Pipe()
	defer w.Close()
	answered := make(chan answer, 1)
	call := newCaller(s.URL)
	go func() {
		last := strconv.FormatInt(b.size-1, 10)
		answered <- call.do(request{method: "PATCH", path: to.url, body: body, length: b.size - offset,
			header: map[string]string{"Content-Range": strconv.FormatInt(offset, 10) + "-" + last}})
	}()
	// The pipe has no buffer. More than the sockets' buffers hold has to be read by the server.
	if _, err := io.Copy(w, b.slice(offset, 3<<20)); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if a := <-answered; a.err == nil {
		t.Errorf("a killed replica answered %v", a)
	}
}

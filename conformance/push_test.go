package conformance

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	ociLayer       = "application/vnd.oci.image.layer.v1.tar"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// pushBlob pushes a blob in one of the ways of the protocol, and reports whether the push was
// acknowledged.
func (s *storm) pushBlob(client int, rng *rand.Rand, repo string, c content) bool {
	ok := s.pushSomehow(client, rng, repo, c)
	if ok {
		s.addBlob(repo, c)
	}
	return ok
}

func (s *storm) pushSomehow(client int, rng *rand.Rand, repo string, c content) bool {
	where := place{blobKind, repo, c.digest.String()}
	way := rng.IntN(10)
	if way < 3 {
		p := s.begin(where, where.name)
		a := s.call.post(repo, c)
		if a.status != http.StatusAccepted {
			return s.resolve(p, a, http.StatusCreated)
		}
		// The specification allows the registry to open an upload session instead.
		return s.resolve(p, s.call.put(s.call.sessionAt(a), c, 0), http.StatusCreated)
	}
	query := ""
	if c.digest.Algorithm() != digest.SHA256 && rng.IntN(2) == 0 {
		query = "digest-algorithm=" + c.digest.Algorithm().String()
	}
	up, a := s.call.open(repo, query)
	if !s.expect(a, http.StatusAccepted, "POST of an upload to %s", repo) {
		return false
	}
	var offset int64
	if way >= 6 {
		sent, ok := s.pushChunks(client, rng, unfinished{repo: repo, session: up, content: c})
		if !ok {
			return false
		}
		up, offset = sent.session, sent.reported
	}
	p := s.begin(where, where.name)
	return s.resolve(p, s.call.put(up, c, offset), http.StatusCreated)
}

// pushChunks sends a content in up to four PATCHes, sometimes with the last bytes in the closing
// PUT. If the upload breaks off, it is kept for resume.
func (s *storm) pushChunks(client int, rng *rand.Rand, u unfinished) (unfinished, bool) {
	ranged := rng.IntN(2) == 0
	end := u.content.size
	if rng.IntN(3) == 0 {
		end -= rng.Int64N(end)
	}
	chunk := max(end/(1+rng.Int64N(4)), 1)
	for u.reported < end {
		if s.stop.Load() {
			s.broken[client] = &u
			return u, false
		}
		n := min(chunk, end-u.reported)
		a := s.call.patch(u.session, u.content, u.reported, n, ranged)
		if !s.expect(a, http.StatusAccepted, "PATCH of %s", u.repo) {
			s.broken[client] = &u
			return u, false
		}
		u.reported += n
		if want := fmt.Sprintf("0-%d", u.reported-1); a.header.Get("Range") != want {
			s.fault("PATCH of %s: Range is %q, want %q", u.repo, a.header.Get("Range"), want)
		}
		u.session = s.call.sessionAt(a)
	}
	return u, true
}

// resume continues an upload that broke off when the registry ended.
func (s *storm) resume(u *unfinished) {
	n, a := s.call.received(u.session)
	if s.mayLoseUploads && a.status == http.StatusNotFound {
		return
	}
	if !s.expect(a, http.StatusNoContent, "GET of the upload %s of %d bytes", u.session.url, u.reported) {
		return
	}
	if n < u.reported && u.reported > 1 && !s.mayLoseUploads {
		s.fault("upload %s has %d bytes, %d were acknowledged", u.session.url, n, u.reported)
	}
	if n == 0 || n > u.content.size {
		return
	}
	p := s.begin(place{blobKind, u.repo, u.content.digest.String()}, u.content.digest.String())
	if s.resolve(p, s.call.put(u.session, u.content, n), http.StatusCreated) {
		s.addBlob(u.repo, u.content)
	}
}

// pushAgain pushes bytes that the registry already has, to the same or another repository.
func (s *storm) pushAgain(client int, rng *rand.Rand, repo string) bool {
	repos := stormRepos()
	c, ok := s.someBlob(rng, repos[rng.IntN(len(repos))])
	return ok && c.size < 1<<20 && s.pushBlob(client, rng, repo, c)
}

// mount mounts a blob from another repository.
func (s *storm) mount(rng *rand.Rand, repo string) bool {
	repos := stormRepos()
	from := repos[rng.IntN(len(repos))]
	c, ok := s.someBlob(rng, from)
	if !ok {
		return false
	}
	query := "mount=" + url.QueryEscape(c.digest.String()) + "&from=" + url.QueryEscape(from)
	p := s.begin(place{blobKind, repo, c.digest.String()}, c.digest.String())
	_, a := s.call.open(repo, query)
	if !s.resolve(p, a, http.StatusCreated) {
		return false
	}
	s.addBlob(repo, c)
	return true
}

// descriptor returns an entry of a manifest.
func descriptor(mediaType string, d digest.Digest, size int64) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": d, "size": size}
}

// pushImage pushes layers, a configuration and a manifest, by the tags or, if there are none, by
// digest.
func (s *storm) pushImage(client int, rng *rand.Rand, repo string, tags []string) (image, bool) {
	types := []string{ociManifest, ociConfig, ociLayer}
	if rng.IntN(3) == 0 {
		types = []string{dockerManifest, dockerConfig, dockerLayer}
	}
	layers := []any{}
	for range 1 + rng.IntN(3) {
		c, ok := s.someBlob(rng, repo)
		if !ok || rng.IntN(2) == 0 {
			c = s.newContent(rng)
			if !s.pushBlob(client, rng, repo, c) {
				return image{}, false
			}
		}
		layers = append(layers, descriptor(types[2], c.digest, c.size))
	}
	config := newContent(s.number.Add(1), 200+rng.Int64N(2000), digest.SHA256)
	if !s.pushBlob(client, rng, repo, config) {
		return image{}, false
	}
	m := map[string]any{"schemaVersion": 2, "mediaType": types[0],
		"config": descriptor(types[1], config.digest, config.size), "layers": layers}
	subject := ""
	if old, ok := s.someImage(rng, repo, true); ok && types[0] == ociManifest && rng.IntN(4) == 0 {
		m["subject"] = descriptor(old.mediaType, old.digest, int64(len(old.payload)))
		m["artifactType"] = "application/vnd.example.sbom"
		subject = old.digest.String()
	}
	return s.pushManifest(rng, repo, tags, types[0], subject, m)
}

// pushIndex pushes images for several platforms and an index that lists them.
func (s *storm) pushIndex(client int, rng *rand.Rand, repo string) bool {
	children := []any{}
	for _, arch := range []string{"amd64", "arm64", "riscv64"}[:2+rng.IntN(2)] {
		child, ok := s.pushImage(client, rng, repo, nil)
		if !ok {
			return false
		}
		d := descriptor(child.mediaType, child.digest, int64(len(child.payload)))
		d["platform"] = map[string]any{"os": "linux", "architecture": arch}
		children = append(children, d)
	}
	mediaType := ociIndex
	if rng.IntN(3) == 0 {
		mediaType = dockerList
	}
	_, ok := s.pushManifest(rng, repo, []string{s.tag(rng)}, mediaType, "",
		map[string]any{"schemaVersion": 2, "mediaType": mediaType, "manifests": children})
	return ok
}

// pushManifest pushes a manifest by one tag, by its digest, or by its digest with tags in the
// query.
func (s *storm) pushManifest(rng *rand.Rand, repo string, tags []string, mediaType, subject string, m map[string]any) (image, bool) {
	payload, err := json.Marshal(m)
	if err != nil {
		s.fault("marshal: %v", err)
		return image{}, false
	}
	i := image{digest: sha256Of(payload), mediaType: mediaType, payload: payload, index: m["manifests"] != nil}
	where := place{manifestKind, repo, i.digest.String()}
	if !s.putManifest(rng, where, i, subject, tags) {
		return image{}, false
	}
	s.mu.Lock()
	s.repos[repo].manifests = append(s.repos[repo].manifests, i)
	s.mu.Unlock()
	return i, true
}

// putManifest sends one PUT of a manifest. If it is acknowledged, the manifest and all its tags are
// promised.
func (s *storm) putManifest(rng *rand.Rand, where place, i image, subject string, tags []string) bool {
	pushed := []pending{s.begin(where, where.name)}
	s.describe(where, i.mediaType, subject)
	reference := where.name
	if len(tags) == 1 && rng.IntN(3) > 0 {
		reference = tags[0]
	} else if len(tags) > 0 {
		reference += "?tag=" + strings.Join(tags, "&tag=")
	}
	for _, tag := range tags {
		pushed = append(pushed, s.begin(place{tagKind, where.repo, tag}, where.name))
	}
	a := s.call.putManifest(where.repo, reference, i.mediaType, i.payload)
	done := false
	for _, p := range pushed {
		done = s.resolve(p, a, http.StatusCreated)
	}
	return done
}

// moveTag points one or two tags at a manifest that the repository has.
func (s *storm) moveTag(rng *rand.Rand, repo string) {
	i, ok := s.someImage(rng, repo, false)
	if !ok {
		return
	}
	tags := []string{s.tag(rng)}
	if other := s.tag(rng); other != tags[0] && rng.IntN(4) == 0 {
		tags = append(tags, other)
	}
	where := place{manifestKind, repo, i.digest.String()}
	_, subject := s.pushedAs(where)
	s.putManifest(rng, where, i, subject, tags)
}

// deleteTag deletes a tag. Another client may have deleted it before.
func (s *storm) deleteTag(rng *rand.Rand, repo string) {
	where := place{tagKind, repo, s.tag(rng)}
	p := s.begin(where, absent)
	a := s.call.do(request{method: "DELETE", path: "/v2/" + repo + "/manifests/" + where.name})
	if a.status == http.StatusNotFound && a.err == nil {
		if !p.couldFind(absent) {
			s.fault("%s: lost: a DELETE did not find it", where)
		}
		// The tag was absent at a moment during the request, as if this request had deleted it.
		p.acknowledged()
		return
	}
	s.resolve(p, a, http.StatusAccepted)
}

// deleteManifest pushes an image that no other client uses, and deletes it.
func (s *storm) deleteManifest(client int, rng *rand.Rand, repo string) {
	layer, config := s.newContent(rng), newContent(s.number.Add(1), 300, digest.SHA256)
	if !s.pushBlob(client, rng, repo, layer) || !s.pushBlob(client, rng, repo, config) {
		return
	}
	payload, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociManifest,
		"config": descriptor(ociConfig, config.digest, config.size),
		"layers": []any{descriptor(ociLayer, layer.digest, layer.size)}})
	if err != nil {
		s.fault("marshal: %v", err)
		return
	}
	i := image{digest: sha256Of(payload), mediaType: ociManifest, payload: payload}
	where := place{manifestKind, repo, i.digest.String()}
	if s.putManifest(rng, where, i, "", nil) {
		p := s.begin(where, absent)
		s.resolve(p, s.call.do(request{method: "DELETE", path: "/v2/" + repo + "/manifests/" + where.name}), http.StatusAccepted)
	}
}

// deleteBlob pushes a blob that no other client uses, and deletes it.
func (s *storm) deleteBlob(client int, rng *rand.Rand, repo string) {
	// 64 bytes or more, so that no other client generates the same bytes by chance.
	c := newContent(s.number.Add(1), 64+rng.Int64N(100<<10), digest.SHA256)
	if !s.pushSomehow(client, rng, repo, c) {
		return
	}
	where := place{blobKind, repo, c.digest.String()}
	p := s.begin(where, absent)
	s.resolve(p, s.call.do(request{method: "DELETE", path: "/v2/" + repo + "/blobs/" + where.name}), http.StatusAccepted)
}

// cancel opens an upload session and cancels it.
func (s *storm) cancel(rng *rand.Rand, repo string) {
	c := s.newContent(rng)
	up, a := s.call.open(repo, "")
	if !s.expect(a, http.StatusAccepted, "POST of an upload to %s", repo) {
		return
	}
	a = s.call.patch(up, c, 0, c.size, true)
	if !s.expect(a, http.StatusAccepted, "PATCH of %s", repo) {
		return
	}
	a = s.call.do(request{method: "DELETE", path: s.call.sessionAt(a).url})
	s.expect(a, http.StatusNoContent, "DELETE of an upload of %s", repo)
}

// mismatch closes an upload with the digest of other bytes. Neither content may become a blob.
func (s *storm) mismatch(rng *rand.Rand, repo string) {
	c := s.newContent(rng)
	up, a := s.call.open(repo, "")
	if !s.expect(a, http.StatusAccepted, "POST of an upload to %s", repo) {
		return
	}
	c.digest = newContent(s.number.Add(1), 10, digest.SHA256).digest
	where := place{blobKind, repo, c.digest.String()}
	p := s.begin(where, where.name)
	a = s.call.put(up, c, 0)
	if s.expect(a, http.StatusBadRequest, "PUT of other bytes to %s", repo) {
		p.refused()
	}
}

// pull reads a blob that the repository has. If the server ends or its disk fails the answer may be
// incomplete, but it must not be 404.
func (s *storm) pull(rng *rand.Rand, repo string) {
	c, ok := s.someBlob(rng, repo)
	if !ok {
		return
	}
	where := place{blobKind, repo, c.digest.String()}
	value, wrong, err := s.call.read(where, "")
	switch {
	case err != nil:
	case wrong != "":
		s.fault("%s: wrong: %s", where, wrong)
	case value == absent:
		s.fault("%s: not found by a pull", where)
	}
}

// digestsIn returns the digests of an index's entries.
func digestsIn(index []byte) []string {
	var page struct {
		Manifests []struct{ Digest string }
	}
	if json.Unmarshal(index, &page) != nil {
		return nil
	}
	var out []string
	for _, m := range page.Manifests {
		out = append(out, m.Digest)
	}
	slices.Sort(out)
	return out
}

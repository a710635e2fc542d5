package storagetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// testManifest checks that a manifest is found by its digest and its tags, in its repository alone.
func testManifest(s *suite) {
	s.push("a", "config")
	s.push("a", "layer")
	m := s.image("", "config", "layer")
	untagged := s.image("other", "config")
	s.put("a", m, "1", "2")
	s.put("a", m, "3")
	s.put("a", untagged)
	for range 2 { // an implementation may cache the first answers
		for _, ref := range []manifest.Reference{byTag("1"), byTag("2"), byTag("3"), byDigest(m.Digest)} {
			s.wantManifest("a", ref, m)
			s.wantNoManifest("b", ref)
		}
		s.wantManifest("a", byDigest(untagged.Digest), untagged)
		for _, ref := range []manifest.Reference{byTag("4"), byTag("01"), byDigest(digest.FromString("x")), byDigest(digest.FromString("config"))} {
			s.wantNoManifest("a", ref)
		}
	}
	artifact := s.putReferrer("a", m.Digest, "application/x", `{}`)
	s.wantManifest("a", byDigest(artifact.Digest), artifact)
}

// testManifestReadLate checks that the payload of a manifest that was looked up never changes.
func testManifestReadLate(s *suite) {
	ctx := s.Context()
	s.push("a", "config")
	m := s.image("", "config")
	s.put("a", m, "1")
	got, err := s.Manifest(ctx, "a", byTag("1"))
	s.must(err)
	s.put("a", s.image("other", "config"), "1")
	payload, err := got.Payload(ctx)
	s.must(err)
	cached, release, ok := got.CachedPayload()
	if ok {
		defer release()
	}
	if string(payload) != string(m.Payload) || ok && string(cached) != string(m.Payload) {
		s.Errorf("the payload is %q, in memory %q, want %q", payload, cached, m.Payload)
	}
	s.must(s.DeleteManifest(ctx, alice, "a", m.Digest))
	if payload, err = got.Payload(ctx); string(payload) != string(m.Payload) {
		s.want(storage.ErrManifestUnknown, err)
	}
}

// testMissingContent checks that a manifest is refused whose content is not in the repository, and
// that it leaves nothing behind.
func testMissingContent(s *suite) {
	ctx := s.Context()
	refused := func(repo string, m *manifest.Manifest) {
		s.Helper()
		s.want(storage.ErrManifestBlobUnknown, s.PutManifest(ctx, alice, repo, m, []string{"1"}, storage.Condition{}))
		s.wantNoManifest(repo, byTag("1"))
		s.wantNoManifest(repo, byDigest(m.Digest))
	}
	s.push("a", "config")
	s.push("elsewhere", "layer")
	m := s.image("", "config", "layer")
	refused("a", m)
	s.wantMissing("a", m, 1, "layer")
	refused("a", s.index(descriptorOf(m)))
	s.wantRepositories("", "", 10)
	s.push("a", "layer")
	s.put("a", m, "2")
	refused("b", m)
	refused("b", s.index(descriptorOf(m)))
	var layers []string
	for i := range 25 {
		layers = append(layers, fmt.Sprint("layer ", i))
	}
	s.wantMissing("a", s.image("", append([]string{"config"}, layers...)...), 20, layers...)
}

// wantMissing checks that the error for a manifest names n digests, all of them of missing texts.
func (s *suite) wantMissing(repo string, m *manifest.Manifest, n int, texts ...string) {
	s.Helper()
	err := s.PutManifest(s.Context(), alice, repo, m, nil, storage.Condition{})
	s.want(storage.ErrManifestBlobUnknown, err)
	var detailed *manifest.Error
	errors.As(err, &detailed)
	detail, err := json.Marshal(detailed.Detail)
	s.must(err)
	named := 0
	for _, text := range texts {
		named += strings.Count(string(detail), digest.FromString(text).String())
	}
	if all := strings.Count(string(detail), "sha256:"); named != n || all != n {
		s.Errorf("the detail has %d digests, %d of them missing, want %d: %s", all, named, n, detail)
	}
}

// testDescriptorSize checks that the size in a descriptor has to be that of the content.
func testDescriptorSize(s *suite) {
	s.push("a", "config")
	m := s.image("", "config")
	s.put("a", m)
	wrongChild := descriptorOf(m)
	wrongChild.Size++
	for _, wrong := range []*manifest.Manifest{s.withReplaced(m, `"size":6`, `"size":7`), s.index(wrongChild)} {
		err := s.PutManifest(s.Context(), alice, "a", wrong, []string{"1"}, storage.Condition{})
		s.want(manifest.ErrManifestInvalid, err)
		s.wantNoManifest("a", byDigest(wrong.Digest))
		s.wantNoManifest("a", byTag("1"))
	}
}

// testForeignLayer checks that a layer with URLs may be missing.
func testForeignLayer(s *suite) {
	s.push("a", "config")
	m := s.withReplaced(s.image("", "config", "layer"), `"size":5`, `"size":5,"urls":["https://example.com/layer"]`)
	s.put("a", m, "1")
	s.wantManifest("a", byTag("1"), m)
	s.wantNoBlob("a", digest.FromString("layer"))
}

// testDeleteManifest checks that a manifest is deleted with its tags, unless an index lists it.
func testDeleteManifest(s *suite) {
	ctx := s.Context()
	for _, repo := range []string{"a", "b"} {
		s.push(repo, "config")
	}
	child, other := s.image("", "config"), s.image("other", "config")
	s.put("a", child, "child")
	s.put("a", other, "other")
	s.put("b", child, "child")
	index := s.index(descriptorOf(child))
	s.put("a", index, "index", "latest")
	s.want(storage.ErrDenied, s.DeleteManifest(ctx, alice, "a", child.Digest))
	s.wantManifest("a", byTag("child"), child)
	s.must(s.DeleteManifest(ctx, alice, "a", index.Digest))
	for _, ref := range []manifest.Reference{byTag("index"), byTag("latest"), byDigest(index.Digest)} {
		s.wantNoManifest("a", ref)
	}
	for _, repo := range []string{"a", "b", "none"} {
		s.want(storage.ErrManifestUnknown, s.DeleteManifest(ctx, alice, repo, index.Digest))
	}
	s.want(storage.ErrManifestUnknown, s.DeleteManifest(ctx, alice, "a", digest.FromString("config")))
	s.wantTags("a", "", 10, "child", "other")
	s.must(s.DeleteManifest(ctx, alice, "a", child.Digest))
	s.wantNoManifest("a", byTag("child"))
	s.wantManifest("b", byTag("child"), child)
	s.must(s.DeleteManifest(ctx, alice, "a", other.Digest))
	s.wantTags("a", "", 10)
	s.wantRepositories("", "", 10, "a", "b") // a is still listed
	s.put("a", child, "again")
	s.wantManifest("a", byTag("again"), child)
	s.wantNoManifest("a", byTag("child"))
}

package storagetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// layerType is the media type of the blobs of images.
const layerType = "application/vnd.oci.image.layer.v1.tar"

// image returns the manifest of an image. The first text is its config, the others are its layers.
func (s *suite) image(note string, blobs ...string) *manifest.Manifest {
	s.Helper()
	descriptors := make([]manifest.Descriptor, len(blobs))
	for i, text := range blobs {
		descriptors[i] = manifest.Descriptor{MediaType: layerType, Digest: digest.FromString(text), Size: int64(len(text))}
	}
	text, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifest.MediaTypeImage,
		"config": descriptors[0], "layers": descriptors[1:],
		"annotations": map[string]string{"note": note},
	})
	s.must(err)
	return s.parse(manifest.MediaTypeImage, string(text))
}

// withReplaced returns m with a part of its payload replaced.
func (s *suite) withReplaced(m *manifest.Manifest, from, to string) *manifest.Manifest {
	s.Helper()
	if n := strings.Count(string(m.Payload), from); n != 1 {
		s.Fatalf("%q is %d times in %s", from, n, m.Payload)
	}
	return s.parse(m.MediaType, strings.Replace(string(m.Payload), from, to, 1))
}

// index returns an index of these descriptors.
func (s *suite) index(children ...manifest.Descriptor) *manifest.Manifest {
	s.Helper()
	var text bytes.Buffer
	w := manifest.NewIndexWriter(&text)
	s.must(w.Add(children))
	s.must(w.Close())
	return s.parse(manifest.MediaTypeIndex, text.String())
}

// descriptorOf returns a descriptor of a manifest, as an index has it.
func descriptorOf(m *manifest.Manifest) manifest.Descriptor {
	return manifest.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Payload))}
}

func (s *suite) parse(mediaType, text string) *manifest.Manifest {
	s.Helper()
	m, err := manifest.Parse(mediaType, []byte(text), "")
	s.must(err)
	return m
}

func (s *suite) put(repo string, m *manifest.Manifest, tags ...string) {
	s.Helper()
	s.must(s.PutManifest(s.Context(), alice, repo, m, tags, storage.Condition{}))
}

// putReferrer puts an artifact with a subject and with annotations in JSON.
func (s *suite) putReferrer(repo string, subject digest.Digest, artifactType, annotations string) *manifest.Manifest {
	s.Helper()
	text := strings.Replace(string(s.image("", "config").Payload), `{"note":""}`, annotations, 1)
	text = strings.TrimSuffix(text, "}") + fmt.Sprintf(`,"artifactType":%q,"subject":{"mediaType":%q,"digest":%q,"size":1}}`,
		artifactType, manifest.MediaTypeImage, subject)
	m := s.parse(manifest.MediaTypeImage, text)
	s.put(repo, m)
	return m
}

func byTag(name string) manifest.Reference { return manifest.Reference{Tag: name} }

func byDigest(d digest.Digest) manifest.Reference { return manifest.Reference{Digest: d} }

// wantManifest checks that a reference resolves to a manifest.
func (s *suite) wantManifest(repo string, ref manifest.Reference, m *manifest.Manifest) {
	s.Helper()
	got, err := s.Manifest(s.Context(), repo, ref)
	s.must(err)
	payload, err := got.Payload(s.Context())
	s.must(err)
	if string(payload) != string(m.Payload) || got.Digest != m.Digest || got.MediaType != m.MediaType ||
		got.ArtifactType != m.ArtifactType || got.Size != int64(len(m.Payload)) {
		s.Fatalf("%s %s is %+v %.200q, want %+v", repo, ref, got, payload, m)
	}
}

// wantNoManifest checks that a reference is unknown.
func (s *suite) wantNoManifest(repo string, ref manifest.Reference) {
	s.Helper()
	_, err := s.Manifest(s.Context(), repo, ref)
	s.want(storage.ErrManifestUnknown, err)
}

package manifest

import (
	"encoding/json"
	"reflect"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestReferrersIndexEmpty(t *testing.T) {
	const want = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	for _, descs := range [][]Descriptor{nil, {}} {
		got, err := ReferrersIndex(descs)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}

func TestReferrersIndex(t *testing.T) {
	payload, err := ReferrersIndex([]Descriptor{
		{MediaType: MediaTypeImage, Digest: dig(1), Size: 123, ArtifactType: "a/b", Annotations: map[string]string{"k": `"<ä>`}},
		{MediaType: MediaTypeIndex, Digest: dig512, Size: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got v1.Index
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	want := []v1.Descriptor{
		{MediaType: MediaTypeImage, Digest: dig(1), Size: 123, ArtifactType: "a/b", Annotations: map[string]string{"k": `"<ä>`}},
		{MediaType: MediaTypeIndex, Digest: dig512},
	}
	if got.SchemaVersion != 2 || got.MediaType != MediaTypeIndex || !reflect.DeepEqual(got.Manifests, want) {
		t.Errorf("got %s", payload)
	}
	// Clients push such an index, too: the fallback tag of registries without
	// referrers.
	m, err := Parse(MediaTypeIndex, payload, "")
	if err != nil || len(m.Links) != 2 {
		t.Errorf("got %+v, %v", m, err)
	}
}

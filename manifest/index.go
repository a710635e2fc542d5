package manifest

import (
	"encoding/json"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// ReferrersIndex writes the OCI image index that answers a request for
// referrers. Without descriptors its "manifests" is an empty array, not null.
func ReferrersIndex(descs []Descriptor) ([]byte, error) {
	manifests := make([]v1.Descriptor, len(descs))
	for i, d := range descs {
		manifests[i] = v1.Descriptor{
			MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
			Annotations: d.Annotations, ArtifactType: d.ArtifactType,
		}
	}
	return json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: MediaTypeIndex,
		Manifests: manifests,
	})
}

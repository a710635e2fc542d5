package manifest

import "github.com/opencontainers/go-digest"

// Descriptor describes a manifest in a list of referrers. Its JSON is that of
// the image spec's descriptor.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       digest.Digest     `json:"digest"`
	Size         int64             `json:"size"` // bytes
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// LinkKind says what a link may lead to.
type LinkKind int

const (
	// LinkBlob leads to a blob: a config, a layer.
	LinkBlob LinkKind = iota
	// LinkManifest leads to a manifest.
	LinkManifest
	// LinkAny leads to a manifest or a blob: what an index names. BuildKit's
	// caches list layers in an index.
	LinkAny
)

// Link is content that a manifest needs in its repository.
type Link struct {
	Digest digest.Digest
	// Size in bytes; -1 where the manifest does not say (schema 1).
	Size int64
	Kind LinkKind
	// Optional links may be absent: layers that live elsewhere (foreign).
	Optional bool
	// Child links are the ones that an index names.
	Child bool
}

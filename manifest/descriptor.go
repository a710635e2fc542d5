package manifest

import (
	"bytes"
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

const (
	// MaxAnnotationsSize is the maximum size of the JSON of annotations, in bytes, that a
	// descriptor in a list of referrers carries. Longer annotations are left out.
	MaxAnnotationsSize = 64 << 10
	// MaxDescriptorSize is an upper bound on the JSON of a descriptor, in bytes. Its other fields
	// together take less than 2 KiB.
	MaxDescriptorSize = MaxAnnotationsSize + 2<<10
)

// Descriptor describes a manifest in a list of referrers. Its JSON is that of a descriptor in the
// OCI image spec.
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"` // bytes
	// Annotations is the JSON of the manifest's annotations. It is nil if there are none, or more
	// than MaxAnnotationsSize bytes.
	Annotations  json.RawMessage `json:"annotations,omitempty"`
	ArtifactType string          `json:"artifactType,omitempty"`
}

// Descriptor returns the descriptor of m for a list of referrers.
func (m *Manifest) Descriptor() (Descriptor, error) {
	d := Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Payload)), ArtifactType: m.ArtifactType}
	length := 0
	for key, text := range m.Annotations {
		length += len(key) + len(text)
	}
	// The JSON is longer than the raw text. If the text alone is too long, do not encode it.
	if len(m.Annotations) == 0 || length > MaxAnnotationsSize {
		return d, nil
	}
	annotations, err := marshalUnescaped(m.Annotations)
	if err != nil {
		return d, err
	}
	if len(annotations) <= MaxAnnotationsSize {
		d.Annotations = annotations
	}
	return d, nil
}

// JSON returns the JSON of d as lists contain it. It has at most MaxDescriptorSize bytes if d is
// the descriptor of a Manifest.
func (d Descriptor) JSON() ([]byte, error) { return marshalUnescaped(d) }

// marshalUnescaped is json.Marshal without HTML escapes, which turn one byte into six.
func marshalUnescaped(v any) ([]byte, error) {
	var b bytes.Buffer
	err := encodeUnescaped(&b, v)
	return b.Bytes(), err
}

// encodeUnescaped appends the JSON of v to b, without HTML escapes.
func encodeUnescaped(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the newline that Encode adds
	return nil
}

// LinkKind is the kind of content that a link leads to.
type LinkKind int

const (
	// LinkBlob leads to a blob: a config or a layer.
	LinkBlob LinkKind = iota
	// LinkManifest leads to a manifest.
	LinkManifest
	// LinkAny leads to a manifest or a blob. An index lists either: BuildKit stores its cache as an
	// index of layers.
	LinkAny
)

// Link is a reference from a manifest to content that its repository must have.
type Link struct {
	Digest digest.Digest
	// Size is in bytes; -1 if the manifest does not state it (schema 1).
	Size int64
	Kind LinkKind
	// Optional links may be absent: foreign layers, which are fetched from elsewhere.
	Optional bool
	// Child links are the entries of an index.
	Child bool
}

// parsedDescriptor is a descriptor as it was read from a manifest.
type parsedDescriptor struct {
	mediaType string
	digest    digest.Digest
	size      int64
	// foreign content is fetched from elsewhere: the descriptor has urls, or a media type of layers
	// that may not be distributed.
	foreign bool
}

// descriptorKeys are the keys of a descriptor in the image spec.
var descriptorKeys = []string{"mediaType", "digest", "size", "urls", "annotations", "artifactType", "data", "platform"}

// descriptor reads a descriptor, which must have a media type, a digest and a size.
func (v value) descriptor() (parsedDescriptor, error) {
	t := parsedDescriptor{size: -1}
	err := v.knownMembers(descriptorKeys, func(key string, v value) (err error) {
		if v.isNull() {
			return nil // the same as an absent key
		}
		switch key {
		case "mediaType":
			t.mediaType, err = v.mediaType()
		case "digest":
			t.digest, err = v.digest()
		case "size":
			t.size, err = v.natural()
		case "urls":
			err = v.elements(func(v value) error {
				t.foreign = true
				_, err := v.text()
				return err
			})
		case "annotations":
			_, err = v.stringMap()
		}
		return err
	})
	switch {
	case err != nil:
		return t, err
	case t.mediaType == "":
		return t, atPath("mediaType", faultf("missing, every descriptor needs one"))
	case t.digest == "":
		return t, atPath("digest", faultf("missing, every descriptor needs one"))
	case t.size < 0:
		return t, atPath("size", faultf("missing, every descriptor needs one"))
	}
	t.foreign = t.foreign || isForeign(t.mediaType)
	return t, nil
}

// isForeign reports whether layers of a media type need not be pushed.
func isForeign(mediaType string) bool {
	switch mediaType {
	case "application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd":
		return true
	}
	return false
}

func (v value) digest() (digest.Digest, error) {
	text, err := v.text()
	if err != nil {
		return "", err
	}
	return ParseDigest(text)
}

// mediaType reads a media type. It checks only that the text is safe in a row and in a header:
// printable ASCII of at most 255 characters. Existing clients do not keep to the rest of the
// grammar (RFC 6838).
func (v value) mediaType() (string, error) {
	text, err := v.text()
	if err != nil {
		return "", err
	}
	if len(text) > maxMediaType {
		return "", faultf("has %d characters, at most %d are allowed", len(text), maxMediaType)
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return "", faultf("%s is not a media type: expected printable ASCII like application/vnd.example+json", quoteShort(text))
		}
	}
	return text, nil
}

const maxMediaType = 255

// links collects the links of a manifest, one for each digest.
type links struct {
	list  []Link
	index map[digest.Digest]int
}

// add adds a link, or merges it with the link of the same digest. The merged link is optional only
// if both are.
func (l *links) add(link Link) error {
	i, found := l.index[link.Digest]
	if !found {
		if l.index == nil {
			l.index = make(map[digest.Digest]int)
		}
		l.index[link.Digest] = len(l.list)
		l.list = append(l.list, link)
		return nil
	}
	old := &l.list[i]
	if old.Size != link.Size {
		return atPath("size", faultf("%d bytes, but the same digest is given %d bytes before", link.Size, old.Size))
	}
	old.Optional = old.Optional && link.Optional
	return nil
}

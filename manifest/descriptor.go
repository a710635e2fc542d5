package manifest

import (
	"bytes"
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

const (
	// MaxListedAnnotations is how long the JSON of annotations may be, in bytes,
	// to be part of a descriptor in a list of referrers.
	MaxListedAnnotations = 64 << 10
	// MaxDescriptor is an upper bound of the JSON of a descriptor, in bytes: what
	// it has beside its annotations is less than 2 KiB.
	MaxDescriptor = MaxListedAnnotations + 2<<10
)

// Descriptor describes a manifest in a list of referrers. Its JSON is that of
// the image spec's descriptor.
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"` // bytes
	// Annotations is the JSON of the manifest's annotations; nil where it has none,
	// or more than MaxListedAnnotations.
	Annotations  json.RawMessage `json:"annotations,omitempty"`
	ArtifactType string          `json:"artifactType,omitempty"`
}

// Descriptor returns the descriptor of m in a list of referrers.
func (m *Manifest) Descriptor() (Descriptor, error) {
	d := Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Payload)), ArtifactType: m.ArtifactType}
	length := 0
	for key, text := range m.Annotations {
		length += len(key) + len(text)
	}
	// Their JSON is longer than they are, and need not be made to see that it is too long.
	if len(m.Annotations) == 0 || length > MaxListedAnnotations {
		return d, nil
	}
	annotations, err := plainJSON(m.Annotations)
	if err != nil {
		return d, err
	}
	if len(annotations) <= MaxListedAnnotations {
		d.Annotations = annotations
	}
	return d, nil
}

// JSON returns the text of d as lists have it. It has at most MaxDescriptor bytes
// if d is of a Manifest.
func (d Descriptor) JSON() ([]byte, error) { return plainJSON(d) }

// plainJSON is json.Marshal without the escapes that only HTML needs, each of
// which makes six bytes of one.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	err := appendJSON(&b, v)
	return b.Bytes(), err
}

// appendJSON appends what plainJSON returns.
func appendJSON(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the end of the line
	return nil
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

// target is what a descriptor inside a manifest says of its content.
type target struct {
	mediaType string
	digest    digest.Digest
	size      int64
	// foreign content lives elsewhere: it has urls, or a media type for what
	// may not be distributed.
	foreign bool
}

// descriptorKeys are the keys of a descriptor in the image spec.
var descriptorKeys = []string{"mediaType", "digest", "size", "urls", "annotations", "artifactType", "data", "platform"}

// descriptor reads a descriptor, which must have a media type, a digest and a
// size.
func (v value) descriptor() (target, error) {
	t := target{size: -1}
	err := v.object(descriptorKeys, func(key string, v value) (err error) {
		if v.null() {
			return nil // as if absent
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
			_, err = v.dictionary()
		}
		return err
	})
	switch {
	case err != nil:
		return t, err
	case t.mediaType == "":
		return t, under("mediaType", faultf("missing, every descriptor needs one"))
	case t.digest == "":
		return t, under("digest", faultf("missing, every descriptor needs one"))
	case t.size < 0:
		return t, under("size", faultf("missing, every descriptor needs one"))
	}
	t.foreign = t.foreign || isForeign(t.mediaType)
	return t, nil
}

// isForeign tells the media types of layers that need not be pushed.
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

// mediaType reads a media type. Of its grammar (RFC 6838) it holds only what
// keeps it fit for a row and a header: printable ASCII, 255 characters at
// most. Clients in the field are not exact about the rest.
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
			return "", faultf("%s is not a media type: expected printable ASCII like application/vnd.example+json", show(text))
		}
	}
	return text, nil
}

const maxMediaType = 255

// links gathers what a manifest needs.
type links struct {
	list []Link
	at   map[digest.Digest]int
}

// add adds a link or joins it with the one of the same digest: content that is
// needed once is needed.
func (l *links) add(link Link) error {
	i, found := l.at[link.Digest]
	if !found {
		if l.at == nil {
			l.at = make(map[digest.Digest]int)
		}
		l.at[link.Digest] = len(l.list)
		l.list = append(l.list, link)
		return nil
	}
	old := &l.list[i]
	if old.Size != link.Size {
		return under("size", faultf("%d bytes, but the same digest is given %d bytes before", link.Size, old.Size))
	}
	old.Optional = old.Optional && link.Optional
	return nil
}

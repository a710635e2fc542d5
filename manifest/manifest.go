// Package manifest contains the types of the registry's content: names, tags, digests, references,
// descriptors, and manifests of every media type.
//
// It does no input or output. It accepts only what all clients read in the same way: a manifest has
// no duplicate keys, no key that differs from a known one only in case, and the fields of one media
// type only. It does not check whether the content that a manifest links to exists.
package manifest

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of the manifests that the registry accepts.
const (
	MediaTypeImage         = v1.MediaTypeImageManifest
	MediaTypeIndex         = v1.MediaTypeImageIndex
	MediaTypeArtifact      = "application/vnd.oci.artifact.manifest.v1+json" // removed from the image spec before 1.1
	MediaTypeDockerImage   = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList    = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// Manifest is what the registry needs to know about a manifest.
type Manifest struct {
	// Digest is the digest of the payload or, for a signed schema 1 manifest, of the payload
	// without its signatures.
	Digest    digest.Digest
	MediaType string
	// ArtifactType is the manifest's artifactType. For an image manifest without one it is the
	// media type of the config. It may be empty.
	ArtifactType string
	Annotations  map[string]string
	// Subject is the digest of the manifest that this one refers to, or "".
	Subject digest.Digest
	// Links are the links of the manifest, each digest once.
	Links []Link
	// Payload is the manifest, byte for byte as it was pushed.
	Payload []byte
}

// Parse reads and checks a manifest. contentType is the request's Content-Type, whose parameters
// are ignored; it may be empty if the payload has a mediaType. want is the digest that the manifest
// was pushed under, or "" if it was pushed by tag. The algorithm of the resulting Digest is that of
// want, or sha256. The result refers to payload, which must not be changed afterwards.
//
// Errors:
//   - ErrManifestInvalid: the payload is not JSON, its media type is not supported, or its fields
//     are not those of the media type. The message names the field.
//   - ErrManifestUnverified: the signature envelope of a signed schema 1 manifest cannot be read.
//     Signatures are not verified.
//   - ErrDigestInvalid: want is not the digest of the payload.
func Parse(contentType string, payload []byte, want digest.Digest) (*Manifest, error) {
	m := &Manifest{Payload: payload}
	if err := m.read(contentType); err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return nil, err
		}
		return nil, Errorf(ErrManifestInvalid, "manifest: %v", err)
	}
	signed := payload
	if m.MediaType == MediaTypeSchema1Signed {
		var err error
		if signed, err = unsignedPayload(payload); err != nil {
			return nil, Errorf(ErrManifestUnverified, "manifest: %v", err)
		}
	}
	if err := m.setDigest(signed, want); err != nil {
		return nil, err
	}
	return m, nil
}

// setDigest sets the digest to that of content and compares it with want.
func (m *Manifest) setDigest(content []byte, want digest.Digest) error {
	algorithm := digest.SHA256
	if want != "" {
		if _, err := ParseDigest(want.String()); err != nil {
			return err
		}
		algorithm = want.Algorithm()
	}
	m.Digest = digestOf(algorithm, content)
	if want != "" && m.Digest != want {
		return Errorf(ErrDigestInvalid, "the manifest was pushed as %s, but its digest is %s", want, m.Digest)
	}
	return nil
}

func digestOf(algorithm digest.Algorithm, content []byte) digest.Digest {
	if algorithm == digest.SHA512 {
		sum := sha512.Sum512(content)
		return digest.NewDigestFromBytes(algorithm, sum[:])
	}
	sum := sha256.Sum256(content)
	return digest.NewDigestFromBytes(algorithm, sum[:])
}

// DigestMatches reports whether d is the digest that Parse computes for a manifest of this media
// type. A schema 1 manifest may be signed under either of its two media types.
func DigestMatches(d digest.Digest, mediaType string, payload []byte) bool {
	if digestOf(d.Algorithm(), payload) == d {
		return true
	}
	if mediaType != MediaTypeSchema1 && mediaType != MediaTypeSchema1Signed {
		return false
	}
	unsigned, err := unsignedPayload(payload)
	return err == nil && digestOf(d.Algorithm(), unsigned) == d
}

// Package manifest holds the words of the registry: names, tags, digests and
// references, descriptors, and every kind of manifest.
//
// It does no input or output. What it accepts is well-formed in the one way
// that every reader agrees on: a manifest has no key twice, none that differs
// only in case from a known one, and the shape of one media type only. What a
// manifest's digests lead to is not looked at here.
package manifest

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of the manifests that the registry takes.
const (
	MediaTypeImage         = v1.MediaTypeImageManifest
	MediaTypeIndex         = v1.MediaTypeImageIndex
	MediaTypeArtifact      = "application/vnd.oci.artifact.manifest.v1+json" // withdrawn from the image spec before 1.1
	MediaTypeDockerImage   = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList    = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// Manifest is what the registry needs to know of a manifest.
type Manifest struct {
	// Digest of the payload, for a signed schema 1 manifest of the payload
	// without its signatures.
	Digest    digest.Digest
	MediaType string
	// ArtifactType is the manifest's artifactType or, for an image manifest
	// without one, its config's media type; "" where neither is there.
	ArtifactType string
	Annotations  map[string]string
	// Subject is the digest of the manifest that this one refers to, or "".
	Subject digest.Digest
	// Links is the content named, each digest once.
	Links []Link
	// Payload is the manifest, byte for byte as it came.
	Payload []byte
}

// Parse reads and checks a manifest. contentType is the request's header, of
// which parameters are ignored; it may be empty where the payload has a
// mediaType. want is the digest it was pushed under, "" when it was pushed by
// tag: its algorithm is that of the Manifest's Digest, else sha256. The result
// keeps payload, which must not change any more.
//
// Errors:
//   - ErrManifestInvalid: not JSON, not of a known media type or not of its
//     shape; the message names the field.
//   - ErrManifestUnverified: the envelope of a signed schema 1 manifest cannot
//     be read. (Signatures are not verified.)
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
		if signed, err = withoutSignatures(payload); err != nil {
			return nil, Errorf(ErrManifestUnverified, "manifest: %v", err)
		}
	}
	if err := m.identify(signed, want); err != nil {
		return nil, err
	}
	return m, nil
}

// identify sets the digest, that of content, and compares it with want.
func (m *Manifest) identify(content []byte, want digest.Digest) error {
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

// Matches reports whether d is the digest of a manifest that Parse took with this media type. A
// schema 1 manifest may be signed whichever of the two media types it has.
func Matches(d digest.Digest, mediaType string, payload []byte) bool {
	if digestOf(d.Algorithm(), payload) == d {
		return true
	}
	if mediaType != MediaTypeSchema1 && mediaType != MediaTypeSchema1Signed {
		return false
	}
	unsigned, err := withoutSignatures(payload)
	return err == nil && digestOf(d.Algorithm(), unsigned) == d
}

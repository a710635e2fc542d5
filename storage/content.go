package storage

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// Blob is a blob as a repository has it. It stays what it is: opening it after it was deleted
// fails, and never gives other bytes.
type Blob struct {
	Digest digest.Digest
	Size   int64

	id     int64
	object meta.Object // known where the blob is one object
	source blobSource
}

// blobSource has the bytes of blobs.
type blobSource interface {
	openBlob(ctx context.Context, b Blob) (io.ReadSeekCloser, error)
}

// NewBlob returns a blob that does not come from a Registry, for what wraps one. Its Open calls
// open.
func NewBlob(d digest.Digest, size int64, open func(ctx context.Context) (io.ReadSeekCloser, error)) Blob {
	return Blob{Digest: d, Size: size, source: openFunc(open)}
}

type openFunc func(ctx context.Context) (io.ReadSeekCloser, error)

func (f openFunc) openBlob(ctx context.Context, _ Blob) (io.ReadSeekCloser, error) { return f(ctx) }

// Open opens the bytes of the blob, which are exactly Size. Where they are one file the result is
// an *os.File. Where they are several, each is opened by the first Read that needs it, which an
// empty Read does, too. Errors, also of Read: ErrBlobUnknown when the bytes are gone,
// ErrUnavailable.
func (b Blob) Open(ctx context.Context) (io.ReadSeekCloser, error) { return b.source.openBlob(ctx, b) }

// Manifest is a manifest as a repository has it, without its payload.
type Manifest struct {
	Digest       digest.Digest
	MediaType    string
	ArtifactType string
	Size         int64

	id     int64
	repo   string
	source payloadSource
}

// payloadSource has the payloads of manifests.
type payloadSource interface {
	cachedPayload(m Manifest) (payload []byte, release func(), ok bool)
	payload(ctx context.Context, m Manifest) ([]byte, error)
}

// NewManifest returns m with a payload that does not come from a Registry, for what wraps one. Its
// Payload calls payload.
func NewManifest(m Manifest, payload func(ctx context.Context) ([]byte, error)) Manifest {
	m.source = payloadFunc(payload)
	return m
}

type payloadFunc func(ctx context.Context) ([]byte, error)

func (payloadFunc) cachedPayload(Manifest) ([]byte, func(), bool) { return nil, nil, false }

func (f payloadFunc) payload(ctx context.Context, _ Manifest) ([]byte, error) { return f(ctx) }

// CachedPayload returns the bytes of the manifest if they are in memory, which keeps and counts
// them until release is called.
func (m Manifest) CachedPayload() (payload []byte, release func(), ok bool) {
	return m.source.cachedPayload(m)
}

// Payload returns the bytes of the manifest as they were pushed, Size of them. They are shared: the
// caller must not change them.
// Errors: ErrManifestUnknown when the manifest was deleted since it was resolved, or its bytes are
// not those of its digest any more.
func (m Manifest) Payload(ctx context.Context) ([]byte, error) { return m.source.payload(ctx, m) }

package storage

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// Blob is a blob of a repository, as it was when it was looked up. Opening it after it was deleted
// fails, and never gives other bytes.
type Blob struct {
	Digest digest.Digest
	Size   int64

	id     int64
	object meta.Object // set if the blob is known to be one object
	source blobSource
}

func (b Blob) key() rowKey { return rowKey{b.id, b.Digest} }

// blobSource opens the blobs that it returned.
type blobSource interface {
	openBlob(ctx context.Context, b Blob) (io.ReadSeekCloser, error)
	signBlob(ctx context.Context, b Blob, o SignOptions) (url string, err error)
}

// NewBlob returns a blob whose Open calls open, and whose SignURL returns "". It is for types that
// wrap or replace a Registry.
func NewBlob(d digest.Digest, size int64, open func(ctx context.Context) (io.ReadSeekCloser, error)) Blob {
	return Blob{Digest: d, Size: size, source: openFunc(open)}
}

type openFunc func(ctx context.Context) (io.ReadSeekCloser, error)

func (f openFunc) openBlob(ctx context.Context, _ Blob) (io.ReadSeekCloser, error) { return f(ctx) }

func (openFunc) signBlob(context.Context, Blob, SignOptions) (string, error) { return "", nil }

// Open opens the bytes of the blob, exactly Size of them. If they are one file, the result is an
// *os.File. If they are several objects, each is opened by the first Read that needs it, which may
// be an empty Read. Errors, also of Read: ErrBlobUnknown if the bytes are damaged, ErrUnavailable.
func (b Blob) Open(ctx context.Context) (io.ReadSeekCloser, error) { return b.source.openBlob(ctx, b) }

// SignURL returns a URL at which anyone can read the bytes with GET, whole or in one range, until
// it expires. The URL is a secret, and errors do not contain it. It is "" if there is none: the
// blob is empty, has several objects, or cannot be read, or the bucket signs no URLs. Then the
// caller sends the bytes of Open. Errors: ErrUnavailable.
func (b Blob) SignURL(ctx context.Context, o SignOptions) (url string, err error) {
	return b.source.signBlob(ctx, b, o)
}

// Manifest is a manifest of a repository, without its payload.
type Manifest struct {
	Digest       digest.Digest
	MediaType    string
	ArtifactType string
	Size         int64

	id     int64
	repo   string
	source payloadSource
}

func (m Manifest) key() rowKey { return rowKey{m.id, m.Digest} }

// payloadSource reads the payloads of the manifests that it returned.
type payloadSource interface {
	cachedPayload(m Manifest) (payload []byte, release func(), ok bool)
	payload(ctx context.Context, m Manifest) ([]byte, error)
}

// NewManifest returns m with a Payload that calls payload. It is for types that wrap or replace a
// Registry.
func NewManifest(m Manifest, payload func(ctx context.Context) ([]byte, error)) Manifest {
	m.source = payloadFunc(payload)
	return m
}

type payloadFunc func(ctx context.Context) ([]byte, error)

func (payloadFunc) cachedPayload(Manifest) ([]byte, func(), bool) { return nil, nil, false }

func (f payloadFunc) payload(ctx context.Context, _ Manifest) ([]byte, error) { return f(ctx) }

// CachedPayload returns the payload if it is in memory. It stays there, and counts against the
// cache, until release is called.
func (m Manifest) CachedPayload() (payload []byte, release func(), ok bool) {
	return m.source.cachedPayload(m)
}

// Payload returns the bytes of the manifest as they were pushed, Size of them. They are shared: the
// caller must not change them.
// Errors: ErrManifestUnknown if the manifest was deleted since it was looked up, or its payload is
// damaged.
func (m Manifest) Payload(ctx context.Context) ([]byte, error) { return m.source.payload(ctx, m) }

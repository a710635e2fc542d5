package api

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/storagetest"
)

// mirror is a registry that gets missing content from elsewhere, like a pull-through cache.
type mirror struct {
	Registry
	elsewhere map[digest.Digest]string
}

func (m mirror) Blob(ctx context.Context, repo string, d digest.Digest) (storage.Blob, error) {
	content, ok := m.elsewhere[d]
	if b, err := m.Registry.Blob(ctx, repo, d); err == nil || !ok {
		return b, err
	}
	return storage.NewBlob(d, int64(len(content)), func(context.Context) (io.ReadSeekCloser, error) {
		r := strings.NewReader(content)
		return failingContent{r, r, io.NopCloser(nil)}, nil
	}), nil
}

func (m mirror) Manifest(ctx context.Context, repo string, ref manifest.Reference) (storage.Manifest, error) {
	content, ok := m.elsewhere[ref.Digest]
	if found, err := m.Registry.Manifest(ctx, repo, ref); err == nil || !ok {
		return found, err
	}
	there := storage.Manifest{Digest: ref.Digest, MediaType: manifest.MediaTypeImage, Size: int64(len(content))}
	return storage.NewManifest(there, func(context.Context) ([]byte, error) { return []byte(content), nil }), nil
}

// TestWrapper serves a blob and a manifest that only a wrapper of the registry has, and one that
// the registry has.
func TestWrapper(t *testing.T) {
	const blob, image = "bytes from elsewhere", `{"schemaVersion": 2}`
	there := mirror{newRegistry(t, "mem://", storage.Options{}), map[digest.Digest]string{
		digest.FromString(blob): blob, digest.FromString(image): image,
	}}
	s := serveRegistry(t, there, Options{})
	own := digest.FromString("own")
	s.runCases([]exchangeCase{
		{Name: "push", Method: "POST", URL: "/v2/a/blobs/uploads/?digest=" + own.String(), Body: "own", WantCode: 201},
		{Name: "own blob", Method: "GET", URL: "/v2/a/blobs/" + own.String(), WantCode: 200, WantBody: "own"},
		{Name: "blob", Method: "GET", URL: "/v2/a/blobs/" + digest.FromString(blob).String(), WantCode: 200, WantBody: blob},
		{Name: "range", Method: "GET", URL: "/v2/a/blobs/" + digest.FromString(blob).String(), Header: header{"Range": "bytes=6-9"},
			WantCode: 206, WantBody: "from"},
		{Name: "manifest", Method: "GET", URL: "/v2/a/manifests/" + digest.FromString(image).String(), WantCode: 200, WantBody: image},
		{Name: "neither", Method: "GET", URL: "/v2/a/blobs/" + digest.FromString("x").String(), WantCode: 404},
	})
}

// TestWrapperIsRegistry: what has more than a registry is still one.
func TestWrapperIsRegistry(t *testing.T) {
	elsewhere := map[digest.Digest]string{digest.FromString("elsewhere"): "elsewhere"}
	storagetest.Run(t, func(t testing.TB) storagetest.Registry {
		return mirror{newRegistry(t, "mem://", storage.Options{CacheBytes: 1 << 20}), elsewhere}
	})
}

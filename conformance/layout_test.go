package conformance

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const (
	typeIndex  = "application/vnd.oci.image.index.v1+json"
	typeImage  = "application/vnd.oci.image.manifest.v1+json"
	typeConfig = "application/vnd.oci.image.config.v1+json"
	typeLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// layout is an OCI image layout on disk that every client can push: an index of two platforms with
// the tag "latest". Its two images share one of their two layers.
type layout struct {
	dir    string
	digest string   // of the index
	images []string // digests of the two images, linux/amd64 and linux/arm64
	layers []string // digests of the three layers, the shared one first
}

// newLayout writes a layout with random content.
func newLayout(t testing.TB) layout {
	t.Helper()
	l := layout{dir: t.TempDir()}
	shared, sharedDiff := l.addLayer(t, "shared", 2<<20)
	var images []map[string]any
	for _, arch := range []string{"amd64", "arm64"} {
		own, ownDiff := l.addLayer(t, "only-"+arch, 10<<10)
		config := l.add(t, typeConfig, map[string]any{
			"architecture": arch, "os": "linux",
			"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{sharedDiff, ownDiff}},
			"history": []any{map[string]string{"created_by": "shared"}, map[string]string{"created_by": "own"}},
		})
		image := l.add(t, typeImage, map[string]any{
			"schemaVersion": 2, "mediaType": typeImage,
			"config": config, "layers": []any{shared, own},
		})
		image["platform"] = map[string]string{"os": "linux", "architecture": arch}
		l.images = append(l.images, image["digest"].(string))
		images = append(images, image)
	}
	index := l.add(t, typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": images})
	l.digest = index["digest"].(string)
	index["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "latest"}
	l.write(t, "index.json", map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{index}})
	l.write(t, "oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	return l
}

// newImageLayout writes a layout of one image for this machine's architecture, with one layer of
// about size random bytes.
func newImageLayout(t testing.TB, size int) layout {
	t.Helper()
	l := layout{dir: t.TempDir()}
	layer, diff := l.addLayer(t, "content", size)
	config := l.add(t, typeConfig, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{diff}},
	})
	image := l.add(t, typeImage, map[string]any{
		"schemaVersion": 2, "mediaType": typeImage,
		"config": config, "layers": []any{layer},
	})
	l.digest = image["digest"].(string)
	l.images = []string{l.digest}
	image["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "latest"}
	l.write(t, "index.json", map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{image}})
	l.write(t, "oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	return l
}

// blob returns a blob of the layout.
func (l layout) blob(t testing.TB, digest string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// addLayer adds a layer of one random file. It returns its descriptor and the digest of its
// uncompressed content.
func (l *layout) addLayer(t testing.TB, name string, size int) (map[string]any, string) {
	t.Helper()
	content := tarball(t, name, randomBytes(t, size))
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	d := l.add(t, typeLayer, b.Bytes())
	l.layers = append(l.layers, d["digest"].(string))
	return d, fmt.Sprintf("sha256:%x", sha256.Sum256(content))
}

// add adds a blob and returns its descriptor. content is bytes, or a value to encode as JSON.
func (l *layout) add(t testing.TB, mediaType string, content any) map[string]any {
	t.Helper()
	b, ok := content.([]byte)
	if !ok {
		b = encode(t, content)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(b))
	l.write(t, filepath.Join("blobs", "sha256", sum), b)
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(b)}
}

func (l *layout) write(t testing.TB, name string, content any) {
	t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	b, ok := content.([]byte)
	if !ok {
		b = encode(t, content)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// requireLayout requires that a repository has the whole layout under a tag.
func (s *server) requireLayout(repository, tag string, l layout) {
	s.t.Helper()
	digest, doc := s.manifest(repository, tag)
	if digest != l.digest || len(doc.Manifests) != 2 {
		s.t.Errorf("%s:%s is %s with %d images, expected %s with 2", repository, tag, digest, len(doc.Manifests), l.digest)
	}
	for _, image := range l.images {
		if _, doc := s.manifest(repository, image); len(doc.Layers) != 2 {
			s.t.Errorf("%s@%s has %d layers", repository, image, len(doc.Layers))
		}
	}
}

// equalSets reports whether a and b are equal in any order.
func equalSets(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

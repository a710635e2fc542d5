package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"sync"
)

const (
	mediaTypeManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaTypeIndex    = "application/vnd.oci.image.index.v1+json"
	mediaTypeConfig   = "application/vnd.oci.image.config.v1+json"
	mediaTypeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// blob is content that can be sent many times. Its digest is known before the
// clock runs.
type blob struct {
	digest string
	size   int64
	open   func() io.Reader
}

func bytesBlob(data []byte) blob {
	return blob{
		digest: digestOf(data),
		size:   int64(len(data)),
		open:   func() io.Reader { return bytes.NewReader(data) },
	}
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// content makes the bytes that are pushed. Contents of the same seed are the
// same, of different seeds share nothing. It is safe for concurrent use.
type content struct {
	seed    uint64
	pattern []byte

	mu       sync.Mutex
	prefixes map[int64]hash.Cloner // by size: the sum of a big blob's bytes but its tail
}

// tailSize is how many of a big blob's bytes are its own.
const tailSize = 32

func newContent(seed uint64) *content {
	c := &content{seed: seed, pattern: make([]byte, 8<<20), prefixes: make(map[int64]hash.Cloner)}
	c.random(0).Read(c.pattern)
	return c
}

// random is a stream of bytes of its own for each id.
func (c *content) random(id uint64) *rand.ChaCha8 {
	return rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "berth-bench %d %d", c.seed, id)))
}

// big is a blob of size bytes, which are held once for all big blobs: a
// pattern repeated, and a tail that only the blob of this id has. The unique
// part is last so that the rest is hashed once for each size.
func (c *content) big(size int64, id uint64) (blob, error) {
	tail := make([]byte, min(tailSize, size))
	c.random(id).Read(tail)
	open := func() io.Reader {
		return io.MultiReader(&repeated{pattern: c.pattern, left: size - int64(len(tail))}, bytes.NewReader(tail))
	}
	prefix, err := c.prefix(size - int64(len(tail)))
	if err != nil {
		return blob{}, err
	}
	sum, err := prefix.Clone()
	if err != nil {
		return blob{}, err
	}
	sum.Write(tail)
	return blob{digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), size: size, open: open}, nil
}

func (c *content) prefix(size int64) (hash.Cloner, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sum, ok := c.prefixes[size]; ok {
		return sum, nil
	}
	sum, ok := sha256.New().(hash.Cloner)
	if !ok {
		return nil, fmt.Errorf("crypto/sha256 cannot clone its state")
	}
	if _, err := io.Copy(sum, &repeated{pattern: c.pattern, left: size}); err != nil {
		return nil, err
	}
	c.prefixes[size] = sum
	return sum, nil
}

// repeated reads pattern again and again until left bytes are read.
type repeated struct {
	pattern []byte
	at      int
	left    int64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.pattern[r.at:])
	r.at = (r.at + n) % len(r.pattern)
	r.left -= int64(n)
	return n, nil
}

// image is a small image whose every byte is its own.
type image struct {
	config   blob
	layers   []blob
	manifest []byte
	digest   string
}

// layerSize is that of each layer of a small image.
const layerSize = 10 << 10

func (c *content) image(id uint64, layers int) (image, error) {
	random := c.random(id)
	img := image{config: bytesBlob(fmt.Appendf(nil,
		`{"architecture":"amd64","os":"linux","author":"%d/%d","rootfs":{"type":"layers","diff_ids":[]}}`, c.seed, id))}
	for range layers {
		data := make([]byte, layerSize)
		random.Read(data)
		img.layers = append(img.layers, bytesBlob(data))
	}
	var err error
	img.manifest, err = imageManifest(img.config, img.layers, "")
	img.digest = digestOf(img.manifest)
	return img, err
}

// imageManifest makes manifests of the same blobs different by note.
func imageManifest(config blob, layers []blob, note string) ([]byte, error) {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	m := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{2, mediaTypeManifest, descriptor{mediaTypeConfig, config.digest, config.size}, []descriptor{}, nil}
	for _, l := range layers {
		m.Layers = append(m.Layers, descriptor{mediaTypeLayer, l.digest, l.size})
	}
	if note != "" {
		m.Annotations = map[string]string{"org.opencontainers.image.version": note}
	}
	return json.Marshal(m)
}

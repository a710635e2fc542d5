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

// blob is content that can be sent many times. Its digest is computed before the measurement.
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

// content generates the bytes to push. Contents with the same seed are equal; contents with
// different seeds have nothing in common. It is safe for concurrent use.
type content struct {
	seed    uint64
	pattern []byte

	mu       sync.Mutex
	prefixes map[int64]hash.Cloner // by size: the hash state of a big blob before its tail
}

// tailSize is the number of bytes at the end of a big blob that differ from other big blobs.
const tailSize = 32

func newContent(seed uint64) *content {
	c := &content{seed: seed, pattern: make([]byte, 8<<20), prefixes: make(map[int64]hash.Cloner)}
	c.randomStream(0).Read(c.pattern)
	return c
}

// randomStream returns a stream of random bytes for an id.
func (c *content) randomStream(id uint64) *rand.ChaCha8 {
	return rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "berth-bench %d %d", c.seed, id)))
}

// bigBlob returns a blob of size bytes: a repeated pattern, which all big blobs share in memory,
// and a tail that is unique to the id. The tail is last so that the rest is hashed only once for
// each size.
func (c *content) bigBlob(size int64, id uint64) (blob, error) {
	tail := make([]byte, min(tailSize, size))
	c.randomStream(id).Read(tail)
	open := func() io.Reader {
		return io.MultiReader(&repeatReader{pattern: c.pattern, left: size - int64(len(tail))}, bytes.NewReader(tail))
	}
	prefix, err := c.prefixHash(size - int64(len(tail)))
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

func (c *content) prefixHash(size int64) (hash.Cloner, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sum, ok := c.prefixes[size]; ok {
		return sum, nil
	}
	sum, ok := sha256.New().(hash.Cloner)
	if !ok {
		return nil, fmt.Errorf("crypto/sha256 cannot clone its state")
	}
	if _, err := io.Copy(sum, &repeatReader{pattern: c.pattern, left: size}); err != nil {
		return nil, err
	}
	c.prefixes[size] = sum
	return sum, nil
}

// repeatReader reads a pattern repeatedly until left bytes are read.
type repeatReader struct {
	pattern []byte
	at      int
	left    int64
}

func (r *repeatReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.pattern[r.at:])
	r.at = (r.at + n) % len(r.pattern)
	r.left -= int64(n)
	return n, nil
}

// image is a small image that shares no blob with another.
type image struct {
	config   blob
	layers   []blob
	manifest []byte
	digest   string
}

// layerSize is the size of each layer of a small image, in bytes.
const layerSize = 10 << 10

func (c *content) image(id uint64, layers int) (image, error) {
	random := c.randomStream(id)
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

// imageManifest returns a manifest. note makes manifests of the same blobs differ.
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

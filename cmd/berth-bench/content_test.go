package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
)

func TestBigBlobs(t *testing.T) {
	c := newContent(1)
	digests := make(map[string]string)
	for _, size := range []int64{0, 1, tailSize, tailSize + 1, int64(len(c.pattern)) + 100, 20<<20 + 7} {
		for id := range uint64(2) {
			name := fmt.Sprintf("%d bytes, id %d", size, id)
			b, err := c.bigBlob(size, id+1)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(b.open())
			if err != nil {
				t.Fatal(err)
			}
			again, err := io.ReadAll(iotest.HalfReader(b.open()))
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(data)) != size || b.size != size {
				t.Errorf("%s: %d bytes, says %d", name, len(data), b.size)
			}
			if b.digest != fmt.Sprintf("sha256:%x", sha256.Sum256(data)) {
				t.Errorf("%s: not the digest of its bytes", name)
			}
			if !bytes.Equal(data, again) {
				t.Errorf("%s: reads differ", name)
			}
			if other, ok := digests[b.digest]; ok && size > 0 {
				t.Errorf("%s: the same as %s", name, other)
			}
			digests[b.digest] = name
		}
	}
}

func TestImage(t *testing.T) {
	c := newContent(1)
	seen := make(map[string]bool)
	for id := range uint64(3) {
		img, err := c.image(id, 5)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Config struct {
				Digest string
				Size   int64
			}
			Layers []struct{ Digest string }
		}
		if err := json.Unmarshal(img.manifest, &m); err != nil {
			t.Fatal(err)
		}
		if m.Config.Digest != img.config.digest || m.Config.Size != img.config.size || len(m.Layers) != 5 {
			t.Errorf("manifest does not name its blobs: %s", img.manifest)
		}
		for i, b := range append(img.layers, img.config) {
			if i < 5 && (m.Layers[i].Digest != b.digest || b.size != layerSize) {
				t.Errorf("layer %d: %d bytes, %s", i, b.size, b.digest)
			}
			if seen[b.digest] {
				t.Errorf("image %d, blob %d: seen before", id, i)
			}
			seen[b.digest] = true
		}
	}
	if a, b := must(c.image(1, 1)), must(newContent(2).image(1, 1)); a.digest == b.digest {
		t.Error("another seed makes the same image")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Package buckettest has the test suite for implementations of [bucket.Store], and helpers for
// other tests of buckets.
package buckettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/berth-registry/berth/storage/bucket"
)

// Open returns a new, empty store.
type Open func(t testing.TB, o bucket.Options) bucket.Store

// Run tests the stores that open returns.
func Run(t *testing.T, open Open) {
	RunRemote(t, open)
	t.Run("Goroutines", func(t *testing.T) { testGoroutines(t, open) })
}

// RunRemote is Run for stores whose clients have goroutines that outlive a call.
func RunRemote(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"PutGet":          testPutGet,
		"Get":             testGet,
		"Sizes":           testSizes,
		"Delete":          testDelete,
		"Keys":            testKeys,
		"KeyShapes":       testKeyShapes,
		"Close":           testClose,
		"Concurrent":      testConcurrent,
		"FailingReader":   testFailingReader,
		"EndedContext":    testEndedContext,
		"FailingHash":     testFailingHash,
		"PanickingReader": testPanickingReader,
		"Unfinished":      testUnfinished,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

const (
	testKey = "content/5e/abc-1"

	smallBuffer = 32 << 10 // size of the buffer that each Put has
)

// Body returns n pseudorandom bytes, the same for each call with the same n.
func Body(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(p)
	return p
}

// MustPut puts an object.
func MustPut(t testing.TB, s bucket.Store, key string, content []byte) {
	t.Helper()
	n, err := s.Put(context.Background(), key, bytes.NewReader(content), io.Discard)
	if err != nil || n != int64(len(content)) {
		t.Fatalf("Put %s: %d, %v", key, n, err)
	}
}

// WantObject checks that an object has the given content.
func WantObject(t testing.TB, s bucket.Store, key string, content []byte) {
	t.Helper()
	r, err := s.Get(context.Background(), key, 0, int64(len(content)))
	if err != nil {
		t.Fatalf("Get %s: %v", key, err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("Get %s: %d bytes, %v; want the %d that were put", key, len(got), err, len(content))
	}
}

// WantKeys checks that the store holds exactly these objects.
func WantKeys(t testing.TB, s bucket.Store, want ...string) {
	t.Helper()
	got := []string{}
	for key, err := range s.Keys(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
}

// Digest is a hash that counts its bytes. It has no lock, so that the race detector finds a Put
// that returns before its second goroutine has ended.
type Digest struct {
	hash.Hash
	n int64
}

// NewDigest returns a Digest of no bytes.
func NewDigest() *Digest { return &Digest{Hash: sha256.New()} }

// Write adds p to the hash.
func (d *Digest) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return d.Hash.Write(p)
}

// Want checks that the hash got the first n bytes of content.
func (d *Digest) Want(t testing.TB, content []byte, n int64) {
	t.Helper()
	sum := sha256.Sum256(content[:n])
	if d.n != n || !bytes.Equal(d.Sum(nil), sum[:]) {
		t.Errorf("the hash got %d bytes, or others, want the first %d of the body", d.n, n)
	}
}

// Endless is a reader of zeros that never ends.
type Endless struct{}

// Read fills p.
func (Endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Hook is a reader that calls Do once, before it reads the byte at the offset At.
type Hook struct {
	io.Reader
	At int64
	Do func()
}

// Read implements io.Reader.
func (h *Hook) Read(p []byte) (int, error) {
	if h.Do != nil && h.At == 0 {
		h.Do()
		h.Do = nil
	}
	if h.Do != nil {
		p = p[:min(int64(len(p)), h.At)]
	}
	n, err := h.Reader.Read(p)
	h.At -= int64(n)
	return n, err
}

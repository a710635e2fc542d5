package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
)

// The tests of the interface run on every kind of bucket.
func onEach(t *testing.T, run func(t *testing.T, open func(o Options) *Bucket)) {
	t.Helper()
	t.Run("file", func(t *testing.T) {
		run(t, func(o Options) *Bucket { return openDir(t, t.TempDir(), o) })
	})
	t.Run("mem", func(t *testing.T) {
		run(t, func(o Options) *Bucket { return openURL(t, "mem://", o) })
	})
}

func openDir(t *testing.T, dir string, o Options) *Bucket {
	t.Helper()
	u, err := FileURL(dir)
	if err != nil {
		t.Fatal(err)
	}
	return openURL(t, u, o)
}

func openURL(t *testing.T, u string, o Options) *Bucket {
	t.Helper()
	b, err := Open(t.Context(), u, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// body returns n bytes that are the same for the same n.
func body(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(p)
	return p
}

func mustPut(t *testing.T, b *Bucket, key string, content []byte) {
	t.Helper()
	if n, err := b.Put(t.Context(), key, bytes.NewReader(content), io.Discard); err != nil || n != int64(len(content)) {
		t.Fatalf("Put %s: %d, %v", key, n, err)
	}
}

func wantObject(t *testing.T, b *Bucket, key string, content []byte) {
	t.Helper()
	r, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get %s: %v", key, err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("Get %s: %d bytes, %v; want the %d that were put", key, len(got), err, len(content))
	}
}

// wantKeys checks that the bucket holds these objects and, on file://, no other file at all.
func wantKeys(t *testing.T, b *Bucket, want ...string) {
	t.Helper()
	got := []string{}
	for key, err := range b.Keys(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	if b.root == "" {
		return
	}
	files := []string{}
	err := filepath.WalkDir(b.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(b.root, path)
			files = append(files, filepath.ToSlash(name))
		}
		return err
	})
	slices.Sort(files)
	if err != nil || !slices.Equal(files, want) {
		t.Errorf("files %q, %v, want %q", files, err, want)
	}
}

// digest is a hash that counts. It has no lock, so that the race detector sees a Put that returns too early.
type digest struct {
	hash.Hash
	n int64
}

func newDigest() *digest { return &digest{Hash: sha256.New()} }

func (d *digest) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return d.Hash.Write(p)
}

func (d *digest) want(t *testing.T, content []byte, n int64) {
	t.Helper()
	sum := sha256.Sum256(content[:n])
	if d.n != n || !bytes.Equal(d.Sum(nil), sum[:]) {
		t.Errorf("the hash got %d bytes, or others, want the first %d of the body", d.n, n)
	}
}

func TestPutGet(t *testing.T) {
	const buffer = 40 << 10
	sizes := []int{0, 1, 100, firstBuffer - 1, firstBuffer, firstBuffer + 1, firstBuffer + buffer - 1,
		firstBuffer + buffer, firstBuffer + buffer + 1, firstBuffer + 2*buffer, firstBuffer + 3*buffer + 7, 1 << 20}
	readers := map[string]func(io.Reader) io.Reader{
		"whole":    func(r io.Reader) io.Reader { return r },
		"halves":   iotest.HalfReader,
		"last EOF": iotest.DataErrReader,
		"bytes":    iotest.OneByteReader,
	}
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{BufferSize: buffer})
		var keys []string
		for name, reader := range readers {
			for i, size := range sizes {
				content, sum := body(size), newDigest()
				key := fmt.Sprintf("content/%02x/%s-%d", i, name[:2], size)
				keys = append(keys, key)
				n, err := b.Put(t.Context(), key, reader(bytes.NewReader(content)), sum)
				if err != nil || n != int64(size) {
					t.Fatalf("%s, %d bytes: %d, %v", name, size, n, err)
				}
				sum.want(t, content, n)
				wantObject(t, b, key, content)
			}
		}
		wantKeys(t, b, keys...)
	})
}

func TestGet(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		if r, err := b.Get(t.Context(), Marker); !errors.Is(err, fs.ErrNotExist) || r != nil {
			t.Fatalf("Get of nothing: %v, %v", r, err)
		}
		content := body(1000)
		mustPut(t, b, Marker, content)
		r, err := b.Get(t.Context(), Marker)
		if err != nil {
			t.Fatal(err)
		}
		if _, isFile := r.(*os.File); isFile != (b.root != "") {
			t.Errorf("Get returned a %T", r)
		}
		// Open readers survive the deletion of their object.
		if err := b.Delete(t.Context(), Marker); err != nil {
			t.Fatal(err)
		}
		if end, err := r.Seek(0, io.SeekEnd); end != 1000 || err != nil {
			t.Errorf("Seek to the end: %d, %v", end, err)
		}
		if _, err := r.Seek(990, io.SeekStart); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[990:]) {
			t.Errorf("the last ten bytes: %x, %v", got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestDelete(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		all := []string{Marker, "content/00/a-1", "content/00/a-2", "content/ff/a-1", "content/ff/b-1"}
		for _, key := range all {
			mustPut(t, b, key, body(10))
		}
		if err := b.Delete(t.Context()); err != nil {
			t.Errorf("of nothing: %v", err)
		}
		if err := b.Delete(t.Context(), "content/00/a-1", "../x"); !errors.Is(err, ErrKey) {
			t.Errorf("with a wrong key: %v", err)
		}
		wantKeys(t, b, all...)
		for range 2 { // the second time all are absent
			err := b.Delete(t.Context(), "content/ff/b-1", "content/00/a-1", "content/ff/a-1", "content/77/no-1", "content/00/a-1")
			if err != nil {
				t.Error(err)
			}
			wantKeys(t, b, Marker, "content/00/a-2")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Delete(ctx, Marker); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
		wantKeys(t, b, Marker, "content/00/a-2")
	})
}

func TestKeys(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		// fileblob's own flat lists go wrong over these.
		all := []string{Marker, "content/0a/a-0", "content/0a/a-1", "content/0a/a-1-1", "content/0a/a-10", "content/0b/A-1", "content/f0/a_b-1"}
		for _, key := range all {
			mustPut(t, b, key, nil)
		}
		wantKeys(t, b, all...)
		for key, err := range b.Keys(t.Context()) {
			if key != Marker || err != nil {
				t.Errorf("first %q, %v", key, err)
			}
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for key, err := range b.Keys(ctx) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("with an ended context: %q, %v", key, err)
			}
		}
	})
}

func TestClose(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		mustPut(t, b, Marker, body(1))
		for range 2 {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		_, putErr := b.Put(t.Context(), Marker, bytes.NewReader(nil), io.Discard)
		_, getErr := b.Get(t.Context(), Marker)
		_, sweepErr := b.Sweep(t.Context())
		for _, err := range []error{putErr, getErr, sweepErr, b.Delete(t.Context(), Marker)} {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		for _, err := range b.Keys(t.Context()) {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("Keys after Close: %v", err)
			}
		}
	})
}

func TestConcurrent(t *testing.T) {
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{BufferSize: 64 << 10})
		var (
			wg   sync.WaitGroup
			keys []string
		)
		for i := range 48 {
			key := fmt.Sprintf("content/%02x/c-%d", i%3, i)
			gone := i%5 == 0
			if !gone {
				keys = append(keys, key)
			}
			wg.Go(func() {
				content, sum := body(i*11_111), newDigest()
				n, err := b.Put(t.Context(), key, bytes.NewReader(content), sum)
				if err != nil || n != int64(len(content)) {
					t.Errorf("Put %s: %d, %v", key, n, err)
					return
				}
				sum.want(t, content, n)
				r, err := b.Get(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				if gone {
					if err := b.Delete(t.Context(), key); err != nil {
						t.Error(err)
					}
				}
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
					t.Errorf("Get %s: %d bytes, %v", key, len(got), err)
				}
			})
		}
		wg.Wait()
		wantKeys(t, b, keys...)
	})
}

// plan is an Options.Fault that fails chosen steps and notes all of them.
type plan struct {
	mu    sync.Mutex
	fail  map[string]error
	steps []string
}

func (p *plan) fault(step, _ string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, step)
	return p.fail[step]
}

func (p *plan) set(step string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail, p.steps = map[string]error{step: err}, nil
}

func (p *plan) want(t *testing.T, steps ...string) {
	t.Helper()
	if !slices.Equal(p.steps, steps) {
		t.Errorf("steps %q, want %q", p.steps, steps)
	}
}

func TestPutFaults(t *testing.T) {
	const key = "content/3c/f-1"
	order := []string{"create", "write", "write", "sync", "publish", "syncdir"}
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		p := &plan{}
		b := open(Options{Fault: p.fault})
		content := body(firstBuffer + 1)
		for _, size := range []int{100, len(content), 3 * defaultBuffer} {
			for _, step := range slices.Compact(slices.Clone(order)) {
				content := body(size)
				p.set(step, syscall.EIO)
				sum := newDigest()
				n, err := b.Put(t.Context(), key, bytes.NewReader(content), sum)
				if !errors.Is(err, syscall.EIO) || errors.Is(err, ErrNoSpace) {
					t.Errorf("%s fails: %v", step, err)
				}
				sum.want(t, content, n)
				if p.steps[len(p.steps)-1] != step {
					t.Errorf("%s fails, but goes on: %q", step, p.steps)
				}
				if step == "syncdir" { // failed, but it happened
					wantObject(t, b, key, content)
				} else {
					wantKeys(t, b)
				}
				p.set("", nil)
				if err := b.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		}
		p.set("", nil)
		mustPut(t, b, key, content)
		p.want(t, order...)
		wantKeys(t, b, key)
	})
}

func TestNoSpaceFaults(t *testing.T) {
	if isDiskFull(syscall.EIO) {
		t.Fatal("every error is a full disk")
	}
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		p := &plan{}
		b := open(Options{Fault: p.fault})
		for _, step := range []string{"create", "write", "sync", "publish", "syncdir"} {
			for _, full := range diskFullErrors {
				p.set(step, &fs.PathError{Op: "write", Path: "x", Err: full})
				_, err := b.Put(t.Context(), Marker, bytes.NewReader(body(10)), io.Discard)
				if !errors.Is(err, ErrNoSpace) || !errors.Is(err, full) {
					t.Errorf("%v at %s: %v", full, step, err)
				}
			}
		}
		// What the client's reader says is not the disk's.
		p.set("", nil)
		_, err := b.Put(t.Context(), Marker, iotest.ErrReader(diskFullErrors[0]), io.Discard)
		if errors.Is(err, ErrNoSpace) || !errors.Is(err, diskFullErrors[0]) {
			t.Errorf("a reader's error: %v", err)
		}
	})
}

func TestDeleteAndReadFaults(t *testing.T) {
	one, two := "content/3c/f-1", "content/4d/f-2"
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		p := &plan{}
		b := open(Options{Fault: func(step, key string) error {
			if err := p.fault(step, key); key == one {
				return err
			}
			return nil
		}})
		reset := func(step string) {
			p.set("", nil)
			mustPut(t, b, one, body(1))
			mustPut(t, b, two, body(1))
			p.set(step, syscall.EIO)
		}
		for _, step := range []string{"delete", "syncdir"} {
			reset(step)
			if err := b.Delete(t.Context(), one, two); !errors.Is(err, syscall.EIO) {
				t.Errorf("%s fails: %v", step, err)
			}
			p.want(t, "delete", "syncdir", "delete", "syncdir")
			if step == "delete" {
				wantKeys(t, b, one)
			} else {
				wantKeys(t, b) // failed, but it happened
			}
			// The repetition makes the directories durable although nothing is left to remove.
			p.set("", nil)
			if err := b.Delete(t.Context(), one, two); err != nil {
				t.Error(err)
			}
			p.want(t, "delete", "syncdir", "delete", "syncdir")
			wantKeys(t, b)
		}
		reset("read")
		if r, err := b.Get(t.Context(), one); !errors.Is(err, syscall.EIO) || errors.Is(err, fs.ErrNotExist) || r != nil {
			t.Errorf("read fails: %v, %v", r, err)
		}
		wantObject(t, b, two, body(1))
	})
}

package storage

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/meta"
)

// countingStore counts the objects that are opened and the bytes that are read, without the marker.
type countingStore struct {
	bucket.Store
	opened, read atomic.Int64
}

// countReads counts the reads of the bucket from now on.
func (tr *testRegistry) countReads() *countingStore {
	c := &countingStore{Store: tr.faulty.Store}
	tr.faulty.Store = c
	return c
}

func (c *countingStore) Get(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	f, err := c.Store.Get(ctx, key, offset, size)
	if err != nil || key == bucket.Marker {
		return f, err
	}
	c.opened.Add(1)
	return &countingReader{f, c}, nil
}

type countingReader struct {
	io.ReadCloser
	c *countingStore
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.c.read.Add(int64(n))
	return n, err
}

// session opens an upload session and appends chunks to it.
func (tr *testRegistry) session(repo string, chunks ...string) string {
	tr.t.Helper()
	up, err := tr.CreateUpload(tr.t.Context(), callerOf(""), repo, "")
	tr.must(err)
	for _, text := range chunks {
		_, err = tr.Append(tr.t.Context(), "", repo, up.ID, chunk(text))
		tr.must(err)
	}
	return up.ID
}

// loseHashState spoils the state of a session's hash.
func (tr *testRegistry) loseHashState(repo, id string) {
	tr.t.Helper()
	tr.must(tr.db.Tx(tr.t.Context(), func(tx *meta.Tx) error {
		up, err := tx.Upload(repo, id)
		if err == nil {
			_, err = tx.AdvanceUpload(up, up.Size, []byte("no state"), tr.nowMicro())
		}
		return err
	}))
}

func (tr *testRegistry) wantSize(repo, id string, size int64) {
	tr.t.Helper()
	up, err := tr.Upload(tr.t.Context(), "", repo, id)
	tr.must(err)
	if up.Size != size {
		tr.t.Fatalf("the session has %d bytes, want %d", up.Size, size)
	}
}

// TestD3BrokenBodyReadsNothing checks that a request with a broken body reads no recorded bytes of
// the session, for each algorithm and also if the hash state is lost.
func TestD3BrokenBodyReadsNothing(t *testing.T) {
	old := strings.Repeat("x", 100_000)
	whole := old + "hello world"
	for name, alg := range map[string]digest.Algorithm{"another algorithm": digest.SHA512, "a lost state": digest.SHA256} {
		t.Run(name, func(t *testing.T) {
			onEachStore(t, Options{}, func(tr *testRegistry) {
				ctx := t.Context()
				id := tr.session("a", old[:50_000], old[50_000:])
				if alg == digest.SHA256 {
					tr.loseHashState("a", id)
				}
				reads := tr.countReads()
				for range 10 {
					_, err := tr.Commit(ctx, "", "a", id, alg.FromString(whole), Chunk{Body: brokenReader{strings.NewReader("h")}, Offset: -1, Length: 2})
					tr.want(ErrClientBody, err)
				}
				if n := reads.read.Load(); n != 0 {
					t.Errorf("10 broken requests read %d bytes of the bucket", n)
				}
				tr.wantSize("a", id, 100_000)
				_, err := tr.Append(ctx, "", "a", id, Chunk{Body: brokenReader{strings.NewReader("hello ")}, Offset: -1, Length: 8})
				tr.want(ErrClientBody, err)
				tr.wantSize("a", id, 100_006)
				if n := reads.read.Load(); n != 0 {
					t.Errorf("chunks read %d bytes of the bucket", n)
				}
				_, err = tr.Commit(ctx, "", "a", id, alg.FromString(whole), chunk("world"))
				tr.must(err)
				if n := reads.read.Load(); n != int64(len(whole)) {
					t.Errorf("the whole body read %d bytes of the bucket, want each of %d once", n, len(whole))
				}
				got, err := tr.read("a", alg.FromString(whole))
				tr.must(err)
				if got != whole {
					t.Errorf("other bytes were committed")
				}
			})
		})
	}
}

// TestD3OneRehashForEachSession checks that a wrong digest ends the session, so that a rehash
// cannot be repeated.
func TestD3OneRehashForEachSession(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		id := tr.session("a", "hello ")
		reads := tr.countReads()
		_, err := tr.Commit(ctx, "", "a", id, digest.SHA512.FromString("other"), chunk("world"))
		tr.want(manifest.ErrDigestInvalid, err)
		if n := reads.read.Load(); n != 11 {
			t.Errorf("%d bytes were read, want 11", n)
		}
		_, err = tr.Commit(ctx, "", "a", id, digest.SHA512.FromString("other"), chunk("world"))
		tr.want(ErrUploadUnknown, err)
		if n := reads.read.Load(); n != 11 {
			t.Errorf("%d bytes were read, want 11", n)
		}
		tr.wantAfterJobs(0)
	})
}

// gate blocks calls that open objects until open is closed.
type gate struct {
	entered chan struct{} // has an element for each blocked call
	open    chan struct{}
}

// blockReads blocks reads of the bucket's objects with a gate.
func (tr *testRegistry) blockReads() *gate {
	g := &gate{make(chan struct{}, 100), make(chan struct{})}
	tr.faulty.Fail = func(op, key string) (bool, error) {
		if op == "get" && key != bucket.Marker {
			g.entered <- struct{}{}
			<-g.open
		}
		return true, nil
	}
	return g
}

// TestD3RehashEndsWithTheClient checks that a rehash ends when the client disconnects, and that the
// session stays as it was.
func TestD3RehashEndsWithTheClient(t *testing.T) {
	for _, last := range []Chunk{emptyChunk, chunk("world")} {
		onEachStore(t, Options{}, func(tr *testRegistry) {
			id := tr.session("a", "hello ")
			g := tr.blockReads()
			reads := tr.countReads()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			done := make(chan error, 1)
			last := last
			if last.Body != nil {
				last.Body = strings.NewReader("world")
			}
			go func() {
				_, err := tr.Commit(ctx, "", "a", id, digest.SHA512.FromString("hello world"), last)
				done <- err
			}()
			<-g.entered
			leave()
			close(g.open)
			tr.want(context.Canceled, <-done)
			if n := reads.read.Load(); n != 0 {
				t.Errorf("%d bytes were read after the client had disconnected", n)
			}
			tr.wantSize("a", id, 6)
			tr.must(tr.deleteObjects(t.Context()))
			if n := len(tr.objects()); n != 1 {
				t.Errorf("%d objects are there, want only the session's", n)
			}
			tr.faulty.Fail = nil
			_, err := tr.Commit(t.Context(), "", "a", id, digest.SHA512.FromString("hello world"), chunk("world"))
			tr.must(err)
			tr.wantAfterJobs(2)
		})
	}
}

// TestD3RehashesAtOnce checks that maxRehashes run at once, and that a client may disconnect while
// its request waits for one of them to end.
func TestD3RehashesAtOnce(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		const requests = 8
		ids := make([]string, requests)
		for i := range ids {
			ids[i] = tr.session("a", "hello ")
		}
		var now, most atomic.Int64
		entered, open := make(chan struct{}, requests), make(chan struct{})
		tr.faulty.Store = openHook{tr.faulty.Store, func() {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			entered <- struct{}{}
			<-open
		}, func() { now.Add(-1) }}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		results := make(chan error, requests)
		var bodies sync.WaitGroup
		bodies.Add(requests)
		for i := range ids {
			ctx := ctx
			if i < maxRehashes {
				ctx = t.Context()
			}
			go func() {
				body := strings.NewReader("world")
				ends := readerFunc(func(p []byte) (int, error) {
					n, err := body.Read(p)
					if err == io.EOF {
						bodies.Done()
					}
					return n, err
				})
				_, err := tr.Commit(ctx, "", "a", ids[i], digest.SHA512.FromString("hello world"), Chunk{Body: ends, Offset: -1, Length: 5})
				results <- err
			}()
			if i < maxRehashes {
				<-entered
			}
		}
		bodies.Wait()
		leave()
		for range requests - maxRehashes {
			tr.want(context.Canceled, <-results)
		}
		close(open)
		for range maxRehashes {
			tr.must(<-results)
		}
		if n := most.Load(); n != maxRehashes {
			t.Errorf("%d rehashes ran at once, want %d", n, maxRehashes)
		}
		for _, id := range ids[maxRehashes:] {
			tr.wantSize("a", id, 6)
		}
	})
}

// openHook calls before when an object is opened, and after when it is closed.
type openHook struct {
	bucket.Store
	before, after func()
}

func (h openHook) Get(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	if key == bucket.Marker {
		return h.Store.Get(ctx, key, offset, size)
	}
	h.before()
	f, err := h.Store.Get(ctx, key, offset, size)
	if err != nil {
		h.after()
		return nil, err
	}
	return closeHook{f, h.after}, nil
}

type closeHook struct {
	io.ReadCloser
	after func()
}

func (h closeHook) Close() error {
	defer h.after()
	return h.ReadCloser.Close()
}

// TestD3SessionChangesUnderRehash checks that the answer is for the current state of a session that
// another request changes during the rehash.
func TestD3SessionChangesUnderRehash(t *testing.T) {
	for name, test := range map[string]struct {
		change func(tr *testRegistry, id string) error
		want   error
		remain int // objects in the end
	}{
		"cancelled": {func(tr *testRegistry, id string) error { return tr.CancelUpload(tr.t.Context(), "", "a", id) }, ErrUploadUnknown, 0},
		"finished": {func(tr *testRegistry, id string) error {
			_, err := tr.Commit(tr.t.Context(), "", "a", id, digest.FromString("hello "), emptyChunk)
			return err
		}, ErrUploadUnknown, 1},
		"finished alike": {func(tr *testRegistry, id string) error {
			_, err := tr.Commit(tr.t.Context(), "", "a", id, digest.SHA512.FromString("hello world"), chunk("world"))
			return err
		}, nil, 2},
		"grown": {func(tr *testRegistry, id string) error {
			_, err := tr.Append(tr.t.Context(), "", "a", id, chunk("world"))
			return err
		}, ErrRangeInvalid, 0},
	} {
		t.Run(name, func(t *testing.T) {
			onEachStore(t, Options{}, func(tr *testRegistry) {
				id := tr.session("a", "hello ")
				changed := false
				tr.faulty.Fail = func(op, key string) (bool, error) {
					if op != "get" || key == bucket.Marker || changed {
						return true, nil
					}
					changed = true
					return true, errors.Join(test.change(tr, id), tr.deleteObjects(t.Context()))
				}
				b, err := tr.Commit(t.Context(), "", "a", id, digest.SHA512.FromString("hello world"), chunk("world"))
				if !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if err == nil && b.Size != 11 {
					t.Errorf("committed %+v", b)
				}
				tr.faulty.Fail = nil
				tr.wantAfterJobs(test.remain)
			})
		})
	}
}

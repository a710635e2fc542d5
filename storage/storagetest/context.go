package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// canceledContext returns a context that is canceled already.
func (s *suite) canceledContext() context.Context {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	return ctx
}

// wantCanceled checks the error of a call with a canceled context.
func (s *suite) wantCanceled(name string, err error) {
	s.Helper()
	if !errors.Is(err, context.Canceled) {
		s.Errorf("%s with an ended context: %v", name, err)
	}
}

// testReadsEndedContext checks that a read with a canceled context returns its result or the
// context's error. It never reports existing content as unknown.
func testReadsEndedContext(s *suite) {
	config := s.push("a", "config")
	m := s.image("", "config")
	s.put("a", m, "1")
	referrer := s.putReferrer("a", m.Digest, "application/x", `{}`)
	id := s.session("a", "hello")
	q := storage.ReferrerQuery{Repo: "a", Subject: m.Digest}
	extent, err := s.ReferrersExtent(s.Context(), q, "", 9, math.MaxInt)
	s.must(err)
	blob, err := s.Blob(s.Context(), "a", config)
	s.must(err)
	found, err := s.Manifest(s.Context(), "a", byTag("1"))
	s.must(err)
	for name, read := range map[string]func(ctx context.Context) (any, error){
		"Manifest": func(ctx context.Context) (any, error) {
			got, err := s.Manifest(ctx, "a", byTag("1"))
			return got.Digest, err
		},
		"Manifest by digest": func(ctx context.Context) (any, error) {
			got, err := s.Manifest(ctx, "a", byDigest(referrer.Digest))
			return got.Digest, err
		},
		"Payload": func(ctx context.Context) (any, error) { return found.Payload(ctx) },
		"Blob": func(ctx context.Context) (any, error) {
			got, err := s.Blob(ctx, "a", config)
			return got.Digest, err
		},
		"Open": func(ctx context.Context) (any, error) {
			f, err := blob.Open(ctx)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return io.ReadAll(f)
		},
		"BlobRepositories": func(ctx context.Context) (any, error) { return s.BlobRepositories(ctx, config, 9) },
		"Upload":           func(ctx context.Context) (any, error) { return s.Upload(ctx, alice, "a", id) },
		"Repositories":     func(ctx context.Context) (any, error) { return s.Repositories(ctx, "", "", 9) },
		"ListVersion":      func(ctx context.Context) (any, error) { return s.ListVersion(ctx) },
		"ListedSince": func(ctx context.Context) (any, error) {
			repos, version, err := s.ListedSince(ctx, 0, 9)
			return fmt.Sprint(repos, version), err
		},
		"Tags":            func(ctx context.Context) (any, error) { return s.Tags(ctx, "a", "", 9) },
		"ReferrersExtent": func(ctx context.Context) (any, error) { return s.ReferrersExtent(ctx, q, "", 9, math.MaxInt) },
		"Referrers":       func(ctx context.Context) (any, error) { return s.Referrers(ctx, q, "", extent) },
	} {
		got, err := read(s.canceledContext())
		if err != nil {
			s.wantCanceled(name, err)
			continue
		}
		if want, err := read(s.Context()); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("%s with an ended context returns %v, else %v and %v", name, got, want, err)
		}
	}
}

// testWritesEndedContext checks that a write with a canceled context is made and acknowledged, or
// returns the context's error and changes nothing.
func testWritesEndedContext(s *suite) {
	ctx := s.Context()
	hello, config := s.push("a", "hello"), s.push("a", "config")
	one, two, three := s.image("1", "config"), s.image("2", "config"), s.image("3", "config")
	s.put("a", one, "1")
	s.put("a", two, "2")
	id := s.session("a", "hello")
	manifestAt := func(ref manifest.Reference) func() error {
		return func() error { _, err := s.Manifest(ctx, "a", ref); return err }
	}
	blobIn := func(repo string, d digest.Digest) func() error {
		return func() error { _, err := s.Blob(ctx, repo, d); return err }
	}
	for name, test := range map[string]struct {
		write     func(ctx context.Context) error
		look      func() error
		unchanged bool // look returns nil before the change
	}{
		"PutManifest": {func(ctx context.Context) error {
			return s.PutManifest(ctx, alice, "a", three, []string{"3"}, storage.Condition{})
		}, manifestAt(byTag("3")), false},
		"DeleteManifest": {func(ctx context.Context) error { return s.DeleteManifest(ctx, alice, "a", one.Digest) },
			manifestAt(byDigest(one.Digest)), true},
		"DeleteTag": {func(ctx context.Context) error { return s.DeleteTag(ctx, alice, "a", "2", storage.Condition{}) },
			manifestAt(byTag("2")), true},
		"DeleteBlob": {func(ctx context.Context) error { return s.DeleteBlob(ctx, alice, "a", hello) }, blobIn("a", hello), true},
		"Mount": {func(ctx context.Context) error { _, err := s.Mount(ctx, alice, "b", config, "a"); return err },
			blobIn("b", config), false},
		"CancelUpload": {func(ctx context.Context) error { return s.CancelUpload(ctx, alice, "a", id) },
			func() error { _, err := s.Upload(ctx, alice, "a", id); return err }, true},
	} {
		err := test.write(s.canceledContext())
		if err != nil {
			s.wantCanceled(name, err)
		}
		if changed := (test.look() == nil) != test.unchanged; changed != (err == nil) {
			s.Errorf("%s with an ended context returns %v; changed: %v", name, err, changed)
		}
		if err != nil {
			s.must(test.write(ctx))
		}
	}
}

// testUploadsEndedContext cancels the context in the middle of a body and at its end, as a client
// that disconnects does. The bytes of a chunk are kept all the same. A commit can be repeated,
// whether it was made or not.
func testUploadsEndedContext(s *suite) {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		id := s.session("a")
		ctx, body := s.leavingClient("hello ", errConnection)
		up, err := s.Append(ctx, alice, "a", id, storage.Chunk{Body: body, Offset: 0, Length: 11})
		s.want(storage.ErrClientBody, err)
		if up.Size != 6 {
			s.Errorf("of a client that disconnected after 6 bytes %d were kept", up.Size)
		}
		s.wantSession("a", id, 6)
		d := alg.FromString("hello world")
		ctx, body = s.leavingClient("wor", errConnection)
		_, err = s.Commit(ctx, alice, "a", id, d, storage.Chunk{Body: body, Offset: 6, Length: 5})
		s.want(storage.ErrClientBody, err)
		s.wantSession("a", id, 6)
		ctx, body = s.leavingClient("world", io.EOF)
		if _, err = s.Commit(ctx, alice, "a", id, d, storage.Chunk{Body: body, Offset: 6, Length: 5}); err != nil {
			s.wantCanceled("Commit", err)
		}
		b, err := s.Commit(s.Context(), alice, "a", id, d, chunkAt(6, "world"))
		s.must(err)
		if got, err := s.read(b); got != "hello world" {
			s.Errorf("read %q and %v", got, err)
		}
		d = alg.FromString("hello")
		ctx, body = s.leavingClient("hello", io.EOF)
		if b, err = s.PutBlob(ctx, by(alice), "a", d, storage.Chunk{Body: body, Offset: -1, Length: 5}); err != nil {
			s.wantCanceled("PutBlob", err)
			b, err = s.PutBlob(s.Context(), by(alice), "a", d, chunk("hello"))
			s.must(err)
		}
		if got, err := s.read(b); got != "hello" {
			s.Errorf("read %q and %v", got, err)
		}
	}
	up, err := s.CreateUpload(s.canceledContext(), by(alice), "a", "")
	if err != nil {
		s.wantCanceled("CreateUpload", err)
		return
	}
	s.wantSession("a", up.ID, 0)
}

// leavingClient returns a body that ends with err, and a context that is canceled at that moment.
func (s *suite) leavingClient(text string, err error) (context.Context, io.Reader) {
	ctx, cancel := context.WithCancel(s.Context())
	s.Cleanup(cancel)
	return ctx, io.MultiReader(strings.NewReader(text), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, err
	}))
}

type readerFunc func(p []byte) (int, error)

// Read calls f.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

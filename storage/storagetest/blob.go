package storagetest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// testBlob checks that a blob is in the repositories that it was pushed to, and in no other, under
// the digest of the push.
func testBlob(s *suite) {
	d := digest.FromString("hello")
	s.wantNoBlob("a", d)
	s.push("a", "hello")
	s.wantBlob("a", "hello")
	for _, repo := range []string{"b", "a/a", "A"} {
		s.wantNoBlob(repo, d)
	}
	s.wantNoBlob("a", digest.SHA512.FromString("hello"))
	s.wantNoBlob("a", digest.FromString("other"))
	s.push("b", "hello")
	s.push("a", "hello")
	for _, repo := range []string{"a", "b"} {
		s.wantBlob(repo, "hello")
	}
	s.push("a", "")
	s.wantBlob("a", "")
	s.wantRepositories("", "", 10) // none, since there is no manifest
}

// testBlobRanges reads a blob of one chunk and a blob of many from various offsets.
func testBlobRanges(s *suite) {
	var chunks []string
	for i := range 5 {
		text := ""
		for n := range 100 + i {
			text += fmt.Sprint(i*1000+n, " ")
		}
		chunks = append(chunks, text)
	}
	whole := strings.Join(chunks, "")
	_, err := s.Commit(s.Context(), alice, "many", s.session("many", chunks...), digest.FromString(whole), emptyChunk)
	s.must(err)
	s.wantRanges("many", whole)
	for _, text := range []string{"one " + whole, "0"} {
		s.push("one", text)
		s.wantRanges("one", text)
	}
}

// wantRanges checks reads and seeks of a blob.
func (s *suite) wantRanges(repo, text string) {
	s.Helper()
	b, err := s.Blob(s.Context(), repo, digest.FromString(text))
	s.must(err)
	f, err := b.Open(s.Context())
	s.must(err)
	defer f.Close()
	beside, err := b.Open(s.Context()) // has its own offset
	s.must(err)
	defer beside.Close()
	size := int64(len(text))
	for offset := int64(0); offset <= size; offset += 101 {
		s.wantRest(f, offset, io.SeekStart, text, offset)
		s.wantRest(f, -(size - offset), io.SeekEnd, text, offset)
		s.wantRest(f, offset-size, io.SeekCurrent, text, offset)
	}
	s.wantRest(f, size, io.SeekStart, text, size)
	s.wantRest(f, size-1, io.SeekStart, text, size-1)
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		s.Error("a seek to -1 succeeded")
	}
	s.wantRest(beside, 0, io.SeekCurrent, text, 0)
}

// wantRest seeks, and checks the bytes from there to the end.
func (s *suite) wantRest(f io.ReadSeeker, offset int64, whence int, text string, want int64) {
	s.Helper()
	at, err := f.Seek(offset, whence)
	s.must(err)
	got, err := io.ReadAll(f)
	if err != nil || at != want || string(got) != text[want:] {
		s.Fatalf("a seek by %d, whence %d, leads to %d, want %d; then %d bytes and %v were read, want %d", offset, whence, at, want, len(got), err, len(text)-int(want))
	}
}

// testBlobOpenedLate checks that a blob that was looked up never has other bytes, whatever happens
// before it is opened.
func testBlobOpenedLate(s *suite) {
	ctx := s.Context()
	d := s.push("a", "hello")
	b, err := s.Blob(ctx, "a", d)
	s.must(err)
	s.must(s.DeleteBlob(ctx, alice, "a", d))
	if got, err := s.read(b); got != "hello" {
		s.want(storage.ErrBlobUnknown, err)
	}
	s.push("a", "hello")
	if got, err := s.read(b); got != "hello" {
		s.want(storage.ErrBlobUnknown, err)
	}
	s.wantBlob("a", "hello")
}

// testPutBlob checks that a blob is stored whole in one request, or not at all.
func testPutBlob(s *suite) {
	ctx := s.Context()
	d := digest.FromString("hello")
	for _, test := range []struct {
		d    digest.Digest
		c    storage.Chunk
		want error
	}{
		{d, chunk("hallo"), manifest.ErrDigestInvalid},
		{d, emptyChunk, manifest.ErrDigestInvalid},
		{digest.SHA512.FromString("hello"), chunk("hell"), manifest.ErrDigestInvalid},
		{d, storage.Chunk{Body: strings.NewReader("hello"), Offset: -1, Length: 4}, storage.ErrSizeInvalid},
		{d, storage.Chunk{Body: strings.NewReader("hello"), Offset: -1, Length: 6}, storage.ErrSizeInvalid},
		{d, brokenChunk("hel", 5), storage.ErrClientBody},
		{d, brokenChunk("hello", 6), storage.ErrClientBody},
		{d, brokenChunk("hello", -1), storage.ErrClientBody},
		{d, brokenChunk("", -1), storage.ErrClientBody},
	} {
		_, err := s.PutBlob(ctx, by(alice), "a", test.d, test.c)
		s.want(test.want, err)
		s.wantNoBlob("a", test.d)
	}
	for _, d := range []digest.Digest{d, digest.SHA512.FromString("hello")} {
		for _, length := range []int64{5, -1} { // the second push finds the blob
			b, err := s.PutBlob(ctx, by(alice), "a", d, storage.Chunk{Body: strings.NewReader("hello"), Offset: -1, Length: length})
			s.must(err)
			if got, err := s.read(b); got != "hello" || b.Digest != d || b.Size != 5 {
				s.Errorf("put %+v, read %q and %v", b, got, err)
			}
		}
	}
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		b, err := s.PutBlob(ctx, by(alice), "a", alg.FromString(""), emptyChunk)
		s.must(err)
		if got, err := s.read(b); got != "" || err != nil || b.Size != 0 {
			s.Errorf("the empty blob is %+v, read %q and %v", b, got, err)
		}
	}
}

// testSameBlobAtOnce pushes a blob many times at once, with PutBlob and with Commit.
func testSameBlobAtOnce(s *suite) {
	ctx := s.Context()
	d := digest.FromString("hello")
	var wg sync.WaitGroup
	for range 8 {
		id := s.session("a", "hel")
		wg.Go(func() {
			_, err := s.PutBlob(ctx, by(alice), "a", d, chunk("hello"))
			_, commitErr := s.Commit(ctx, alice, "a", id, d, chunk("lo"))
			if err := errors.Join(err, commitErr); err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	s.wantBlob("a", "hello")
}

// testDeleteBlob checks that a blob is deleted from one repository, unless a manifest links it.
func testDeleteBlob(s *suite) {
	ctx := s.Context()
	layer, config := s.push("a", "layer"), s.push("a", "config")
	s.push("b", "layer")
	image := s.image("", "config", "layer")
	s.put("a", image, "image")
	listed := s.push("a", "listed") // BuildKit's caches list layers in an index
	index := s.index(manifest.Descriptor{MediaType: layerType, Digest: listed, Size: 6})
	s.put("a", index, "cache")
	for _, d := range []digest.Digest{layer, config, listed} {
		s.want(storage.ErrDenied, s.DeleteBlob(ctx, alice, "a", d))
	}
	s.wantBlob("a", "layer")
	s.wantBlob("a", "listed")
	s.must(s.DeleteManifest(ctx, alice, "a", index.Digest))
	s.must(s.DeleteManifest(ctx, alice, "a", image.Digest))
	s.must(s.DeleteBlob(ctx, alice, "a", listed))
	s.must(s.DeleteBlob(ctx, alice, "a", layer))
	s.wantNoBlob("a", layer)
	s.wantBlob("a", "config")
	s.wantBlob("b", "layer")
	for _, repo := range []string{"a", "none"} {
		s.want(storage.ErrBlobUnknown, s.DeleteBlob(ctx, alice, repo, layer))
	}
	s.push("a", "layer")
	s.wantBlob("a", "layer")
}

// testMount checks that a mount needs a repository that has the blob, and that a mounted blob does
// not depend on that repository.
func testMount(s *suite) {
	ctx := s.Context()
	d := s.push("private/a", "hello")
	for _, from := range []string{"b", "none", "c", "private"} {
		_, err := s.Mount(ctx, alice, "c", d, from)
		s.want(storage.ErrBlobUnknown, err)
	}
	_, err := s.Mount(ctx, alice, "c", digest.FromString("x"), "private/a")
	s.want(storage.ErrBlobUnknown, err)
	s.wantNoBlob("c", d)
	for _, repo := range []string{"b", "c", "private/a", "b"} {
		b, err := s.Mount(ctx, alice, repo, d, "private/a")
		s.must(err)
		s.wantBlobValue(b, "hello")
		if got, err := s.read(b); got != "hello" {
			s.Errorf("read %q and %v of a mounted blob", got, err)
		}
		s.wantBlob(repo, "hello")
	}
	for n, want := range map[int][]string{1: {"private/a"}, 2: {"private/a", "b"}, 3: {"private/a", "b", "c"}, 10: {"private/a", "b", "c"}} {
		s.wantBlobRepositories(d, n, want...)
	}
	s.must(s.DeleteBlob(ctx, alice, "private/a", d))
	s.wantBlob("b", "hello")
	s.wantBlobRepositories(d, 10, "b", "c")
	s.wantBlobRepositories(digest.FromString("x"), 10)
	_, err = s.Mount(ctx, alice, "d", d, "private/a")
	s.want(storage.ErrBlobUnknown, err)
}

// wantBlobRepositories checks the repositories that have a blob, the oldest first.
func (s *suite) wantBlobRepositories(d digest.Digest, n int, want ...string) {
	s.Helper()
	got, err := s.BlobRepositories(s.Context(), d, n)
	s.wantNames(got, err, want...)
}

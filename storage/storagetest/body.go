package storagetest

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

var errConnection = errors.New("connection reset")

// brokenChunk returns a chunk whose body fails after a text, as the body of a broken connection
// does.
func brokenChunk(text string, length int64) storage.Chunk {
	body := io.MultiReader(strings.NewReader(text), iotest.ErrReader(errConnection))
	return storage.Chunk{Body: body, Offset: -1, Length: length}
}

// testWrongDigest checks that a wrong digest ends the session, and that a digest without its bytes
// gives no blob.
func testWrongDigest(s *suite) {
	ctx := s.Context()
	other := digest.FromString("other")
	for _, last := range []storage.Chunk{chunk(" world"), emptyChunk} {
		id := s.session("a", "hello")
		_, err := s.Commit(ctx, alice, "a", id, other, last)
		s.want(manifest.ErrDigestInvalid, err)
		s.wantSessionUnknown("a", id)
		_, err = s.Commit(ctx, alice, "a", id, digest.FromString("hello"), emptyChunk)
		s.want(storage.ErrUploadUnknown, err)
	}
	_, err := s.PutBlob(ctx, by(alice), "a", other, chunk("hello"))
	s.want(manifest.ErrDigestInvalid, err)
	s.wantNoBlob("a", other)
	// The bytes are needed also if another repository has the blob.
	d := s.push("b", "hello")
	_, err = s.PutBlob(ctx, by(alice), "a", d, emptyChunk)
	s.want(manifest.ErrDigestInvalid, err)
	_, err = s.Commit(ctx, alice, "a", s.session("a"), d, emptyChunk)
	s.want(manifest.ErrDigestInvalid, err)
	s.wantNoBlob("a", d)
}

// testBrokenBody checks that a broken chunk keeps the bytes that arrived, so that its client can
// continue. A broken commit keeps none, since clients repeat it whole.
func testBrokenBody(s *suite) {
	ctx := s.Context()
	id := s.session("a")
	var kept int64
	for _, body := range []struct {
		text   string
		length int64
	}{{"hel", 100}, {"", 100}, {"", -1}, {"lo", -1}, {" ", 1 << 40}} {
		up, err := s.Append(ctx, alice, "a", id, brokenChunk(body.text, body.length))
		s.want(storage.ErrClientBody, err)
		if kept += int64(len(body.text)); up.Size != kept {
			s.Errorf("after %q of %d bytes the session has %d, want %d", body.text, body.length, up.Size, kept)
		}
		s.wantSession("a", id, kept)
	}
	d := digest.FromString("hello world")
	for _, length := range []int64{6, -1} {
		for _, text := range []string{"wor", "world", ""} {
			_, err := s.Commit(ctx, alice, "a", id, d, brokenChunk(text, length))
			s.want(storage.ErrClientBody, err)
			s.wantSession("a", id, kept)
		}
	}
	s.wantNoBlob("a", d)
	_, err := s.Commit(ctx, alice, "a", id, d, chunkAt(kept, "world"))
	s.must(err)
	s.wantBlob("a", "hello world")
}

// testAnnouncedLength checks that a body has to have the announced length.
func testAnnouncedLength(s *suite) {
	ctx := s.Context()
	d := digest.FromString("hello world")
	id := s.session("a", "hello ")
	for _, text := range []string{"wo", "worlds"} {
		c := func() storage.Chunk {
			return storage.Chunk{Body: strings.NewReader(text), Offset: 6, Length: 5}
		}
		_, err := s.Append(ctx, alice, "a", id, c())
		s.want(storage.ErrSizeInvalid, err)
		_, err = s.Commit(ctx, alice, "a", id, digest.FromString("hello "+text), c())
		s.want(storage.ErrSizeInvalid, err)
		s.wantSession("a", id, 6)
	}
	_, err := s.Commit(ctx, alice, "a", id, d, storage.Chunk{Body: strings.NewReader("world"), Offset: 6, Length: -1})
	s.must(err)
	s.wantBlob("a", "hello world")
}

// testConfirm checks that nothing is recorded of a complete body that Confirm refuses, and that a
// session stays as it was.
func testConfirm(s *suite) {
	ctx := s.Context()
	refusal := errors.New("not any more")
	asked := 0
	chunk := func(text string, err error) storage.Chunk {
		body := strings.NewReader(text)
		return storage.Chunk{Body: iotest.OneByteReader(body), Offset: -1, Length: int64(len(text)), Confirm: func() error {
			if asked++; body.Len() > 0 {
				s.Errorf("asked with %d bytes to read", body.Len())
			}
			return err
		}}
	}
	refused := func(err error, want int) {
		s.Helper()
		if !errors.Is(err, refusal) || asked != want {
			s.Fatalf("asked %d times, want %d; the error is %v", asked, want, err)
		}
	}
	d := digest.FromString("hello, world")
	_, err := s.PutBlob(ctx, by(alice), "a", d, chunk("hello, world", refusal))
	refused(err, 1)
	id := s.session("a")
	_, err = s.Append(ctx, alice, "a", id, chunk("hello", nil))
	s.must(err)
	_, err = s.Append(ctx, alice, "a", id, chunk(", world", refusal))
	refused(err, 3)
	_, err = s.Commit(ctx, alice, "a", id, d, chunk(", world", refusal))
	refused(err, 4)
	_, err = s.Commit(ctx, alice, "a", id, digest.FromString("hello"), chunk("", refusal))
	refused(err, 5)
	s.wantNoBlob("a", d)
	s.wantNoBlob("a", digest.FromString("hello"))
	s.wantSession("a", id, 5)
	_, err = s.Commit(ctx, alice, "a", id, d, chunk(", world", nil))
	s.must(err)
	s.wantBlob("a", "hello, world")
}

// testTwoWriters checks that one of several chunks for the same offset is accepted, and that a
// commit succeeds however often it is made at once.
func testTwoWriters(s *suite) {
	ctx := s.Context()
	id := s.session("a")
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() { _, results[i] = s.Append(ctx, alice, "a", id, chunkAt(0, "hello")) })
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else if !errors.Is(err, storage.ErrRangeInvalid) {
			s.Errorf("a chunk that lost: %v", err)
		}
	}
	if won != 1 {
		s.Fatalf("%d chunks at byte 0 were taken", won)
	}
	s.wantSession("a", id, 5)
	for i := range results {
		wg.Go(func() {
			_, results[i] = s.Commit(ctx, alice, "a", id, digest.FromString("hello world"), chunk(" world"))
		})
	}
	wg.Wait()
	if err := errors.Join(results...); err != nil {
		s.Errorf("the same commit, eight at once: %v", err)
	}
	s.wantBlob("a", "hello world")
}

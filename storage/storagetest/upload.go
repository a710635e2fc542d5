package storagetest

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage"
)

// testUpload takes a session from its opening to its commit, which it repeats.
func testUpload(s *suite) {
	ctx := s.Context()
	up, err := s.CreateUpload(ctx, by(alice), "team/app", "")
	s.must(err)
	if up.ID == "" || up.Size != 0 || up.Algorithm != digest.SHA256 {
		s.Fatalf("a new session is %+v", up)
	}
	if other := s.session("team/app"); other == up.ID {
		s.Fatalf("two sessions are %s", other)
	}
	after, err := s.Append(ctx, alice, "team/app", up.ID, chunkAt(0, "hello "))
	s.must(err)
	if want := (storage.Upload{ID: up.ID, Size: 6, Algorithm: digest.SHA256}); after != want {
		s.Fatalf("after 6 bytes the session is %+v, want %+v", after, want)
	}
	for _, offset := range []int64{0, 5, 7} {
		after, err = s.Append(ctx, alice, "team/app", up.ID, chunkAt(offset, "x"))
		s.want(storage.ErrRangeInvalid, err)
		if after.Size != 6 {
			s.Fatalf("after a chunk at byte %d the returned session has %d bytes", offset, after.Size)
		}
		_, err = s.Commit(ctx, alice, "team/app", up.ID, digest.FromString("hello world"), chunkAt(offset, "x"))
		s.want(storage.ErrRangeInvalid, err)
		s.wantSession("team/app", up.ID, 6)
	}
	after, err = s.Append(ctx, alice, "team/app", up.ID, emptyChunk)
	s.must(err)
	if after.Size != 6 {
		s.Fatalf("after a chunk without bytes the session has %d", after.Size)
	}
	s.wantNoBlob("team/app", digest.FromString("hello "))
	d := digest.FromString("hello world")
	for _, c := range []storage.Chunk{chunkAt(6, "world"), chunk("world"), chunkAt(6, "world"), chunk("x"), emptyChunk} { // whatever its body
		b, err := s.Commit(ctx, alice, "team/app", up.ID, d, c)
		s.must(err)
		s.wantBlobValue(b, "hello world")
	}
	s.wantSessionUnknown("team/app", up.ID)
	s.wantBlob("team/app", "hello world")
}

// wantSessionUnknown checks that alice cannot use a session.
func (s *suite) wantSessionUnknown(repo, id string) {
	s.Helper()
	ctx := s.Context()
	_, err := s.Upload(ctx, alice, repo, id)
	s.want(storage.ErrUploadUnknown, err)
	for _, c := range []storage.Chunk{emptyChunk, chunk("x"), chunkAt(0, "x")} {
		_, err = s.Append(ctx, alice, repo, id, c)
		s.want(storage.ErrUploadUnknown, err)
		_, err = s.Commit(ctx, alice, repo, id, digest.FromString("other"), c)
		s.want(storage.ErrUploadUnknown, err)
	}
	s.want(storage.ErrUploadUnknown, s.CancelUpload(ctx, alice, repo, id))
}

// testUploadEndings commits sessions of each algorithm with digests of each algorithm. The bytes
// are in chunks, in the commit, in both, or nowhere.
func testUploadEndings(s *suite) {
	ctx := s.Context()
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		for _, opened := range []digest.Algorithm{"", digest.SHA256, digest.SHA512} {
			for name, chunks := range map[string][]string{
				"both": {"hel", "lo ", "world"}, "commit": {"all of it"}, "chunks": {"in ", "two", ""}, "nowhere": {""},
			} {
				text := strings.Join(chunks, "")
				d := alg.FromString(text)
				up, err := s.CreateUpload(ctx, by(alice), name, opened)
				s.must(err)
				if opened != "" && up.Algorithm != opened {
					s.Fatalf("a session of %s is %+v", opened, up)
				}
				last := len(chunks) - 1
				for _, c := range chunks[:last] {
					_, err = s.Append(ctx, alice, name, up.ID, chunk(c))
					s.must(err)
				}
				b, err := s.Commit(ctx, alice, name, up.ID, d, chunk(chunks[last]))
				s.must(err)
				if got, err := s.read(b); got != text || b.Digest != d || b.Size != int64(len(text)) {
					s.Errorf("%s, opened for %q, by %s: %+v, read %q and %v", name, opened, d, b, got, err)
				}
			}
		}
	}
}

// testUploadUnknown uses ids of no session, and the id of a session in another repository.
func testUploadUnknown(s *suite) {
	id := s.session("a", "hello")
	for _, session := range [][2]string{{"b", id}, {"a/b", id}, {"a", "unknown"}, {"a", ""}, {"a", id + "0"}, {"a", id[1:]}} {
		s.wantSessionUnknown(session[0], session[1])
		seen, err := s.Append(s.Context(), alice, session[0], session[1], chunk("x"))
		s.want(storage.ErrUploadUnknown, err)
		if seen != (storage.Upload{}) {
			s.Errorf("Append with the unknown session %q returns %+v", session, seen)
		}
	}
	s.wantSession("a", id, 5)
}

// testUploadOfAnother checks that a session is unknown to callers that do not own it, from its
// opening until after its commit.
func testUploadOfAnother(s *suite) {
	ctx := s.Context()
	d := digest.FromString("hello world")
	id := s.session("a")
	refused := func(caller string) {
		s.Helper()
		for _, c := range []storage.Chunk{emptyChunk, chunk("hello world"), chunkAt(0, "hello world")} {
			seen, err := s.Append(ctx, caller, "a", id, c)
			s.want(storage.ErrUploadUnknown, err)
			if seen != (storage.Upload{}) {
				s.Errorf("Append by %q to another caller's session returns %+v", caller, seen)
			}
			_, err = s.Commit(ctx, caller, "a", id, d, c)
			s.want(storage.ErrUploadUnknown, err)
		}
		_, err := s.Upload(ctx, caller, "a", id)
		s.want(storage.ErrUploadUnknown, err)
		s.want(storage.ErrUploadUnknown, s.CancelUpload(ctx, caller, "a", id))
		never := strings.Repeat("x", len(id))
		_, unknown := s.Upload(ctx, caller, "a", never)
		s.want(storage.ErrUploadUnknown, unknown)
		if want := strings.ReplaceAll(unknown.Error(), never, id); err.Error() != want {
			s.Errorf("another caller's session gives the error %q, want %q as for an unknown one", err, want)
		}
	}
	others := []string{"user:bob#2", "user:alice#3", ""}
	for _, caller := range others { // before its first bytes
		refused(caller)
	}
	_, err := s.Append(ctx, alice, "a", id, chunk("hello "))
	s.must(err)
	for _, caller := range others {
		refused(caller)
	}
	_, err = s.Commit(ctx, alice, "a", id, d, chunk("world"))
	s.must(err)
	for _, caller := range others { // when it is finished
		refused(caller)
	}
	_, err = s.Commit(ctx, alice, "a", id, d, emptyChunk)
	s.must(err)
	s.wantBlob("a", "hello world")
}

// testCancelUpload cancels two of three sessions. The repository has no manifest and is not listed.
func testCancelUpload(s *suite) {
	ctx := s.Context()
	fresh, id, kept := s.session("a"), s.session("a", "hello"), s.session("a", "hello ")
	for _, id := range []string{fresh, id} {
		s.must(s.CancelUpload(ctx, alice, "a", id))
		s.wantSessionUnknown("a", id)
	}
	_, err := s.Commit(ctx, alice, "a", id, digest.FromString("hello"), emptyChunk)
	s.want(storage.ErrUploadUnknown, err)
	s.wantNoBlob("a", digest.FromString("hello"))
	s.wantRepositories("", "", 10)
	_, err = s.Tags(ctx, "a", "", 10)
	s.want(storage.ErrNameUnknown, err)
	_, err = s.Commit(ctx, alice, "a", kept, digest.FromString("hello world"), chunkAt(6, "world"))
	s.must(err)
	s.wantBlob("a", "hello world")
}

// Package storagetest is the test suite of the interfaces of package storage. Every implementation
// passes it: the registry itself, and types that wrap or replace it. It uses nothing but these
// interfaces.
package storagetest

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// Registry is an implementation of all interfaces of package storage.
type Registry interface {
	storage.Manifests
	storage.Blobs
	storage.Uploads
	storage.Lists
}

// Open returns a new and empty registry that is open until the test ends. The registry limits no
// caller, keeps idle upload sessions for at least a minute, and refuses manifests that link missing
// content.
type Open func(t testing.TB) Registry

// Run runs the suite. Each test has a registry of its own from open.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*suite){
		"Upload":              testUpload,
		"UploadEndings":       testUploadEndings,
		"UploadUnknown":       testUploadUnknown,
		"UploadOfAnother":     testUploadOfAnother,
		"CancelUpload":        testCancelUpload,
		"WrongDigest":         testWrongDigest,
		"BrokenBody":          testBrokenBody,
		"AnnouncedLength":     testAnnouncedLength,
		"Confirm":             testConfirm,
		"TwoWriters":          testTwoWriters,
		"Blob":                testBlob,
		"BlobRanges":          testBlobRanges,
		"BlobOpenedLate":      testBlobOpenedLate,
		"PutBlob":             testPutBlob,
		"SameBlobAtOnce":      testSameBlobAtOnce,
		"DeleteBlob":          testDeleteBlob,
		"Mount":               testMount,
		"Manifest":            testManifest,
		"ManifestReadLate":    testManifestReadLate,
		"MissingContent":      testMissingContent,
		"DescriptorSize":      testDescriptorSize,
		"ForeignLayer":        testForeignLayer,
		"DeleteManifest":      testDeleteManifest,
		"MovedTag":            testMovedTag,
		"DeleteTag":           testDeleteTag,
		"Conditions":          testConditions,
		"ConditionOfEachTag":  testConditionOfEachTag,
		"AcknowledgedWrites":  testAcknowledgedWrites,
		"Tags":                testTags,
		"Repositories":        testRepositories,
		"ListedSince":         testListedSince,
		"Referrers":           testReferrers,
		"ReferrersExtent":     testReferrersExtent,
		"ReferrersPages":      testReferrersPages,
		"ReferrersMeanwhile":  testReferrersMeanwhile,
		"LargeAnnotations":    testLargeAnnotations,
		"ReadsEndedContext":   testReadsEndedContext,
		"WritesEndedContext":  testWritesEndedContext,
		"UploadsEndedContext": testUploadsEndedContext,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{T: t, Registry: open(t)}) })
	}
}

// suite is the state of one test: its registry.
type suite struct {
	*testing.T
	Registry
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// want checks that err is a manifest.Error of a kind, with a message.
func (s *suite) want(kind, err error) {
	s.Helper()
	var detailed *manifest.Error
	if !errors.Is(err, kind) || !errors.As(err, &detailed) || detailed.Message == "" {
		s.Fatalf("the error is %v, want a manifest.Error of the kind %q", err, kind)
	}
}

const alice = "user:alice#1"

// emptyChunk is a chunk without bytes.
var emptyChunk = storage.Chunk{Offset: -1, Length: -1}

func chunk(text string) storage.Chunk { return chunkAt(-1, text) }

func chunkAt(offset int64, text string) storage.Chunk {
	return storage.Chunk{Body: strings.NewReader(text), Offset: offset, Length: int64(len(text))}
}

// by returns a caller that is charged under its own name.
func by(owner string) storage.Caller { return storage.Caller{Owner: owner, Charged: owner} }

// session opens an upload session as alice and appends chunks to it.
func (s *suite) session(repo string, chunks ...string) (id string) {
	s.Helper()
	up, err := s.CreateUpload(s.Context(), by(alice), repo, "")
	s.must(err)
	for _, text := range chunks {
		_, err := s.Append(s.Context(), alice, repo, up.ID, chunk(text))
		s.must(err)
	}
	return up.ID
}

// wantSession checks that alice has an open session of n bytes.
func (s *suite) wantSession(repo, id string, n int64) {
	s.Helper()
	up, err := s.Upload(s.Context(), alice, repo, id)
	s.must(err)
	if up.ID != id || up.Size != n {
		s.Fatalf("the session is %+v, want %s with %d bytes", up, id, n)
	}
}

// push pushes a text as a blob of the repository.
func (s *suite) push(repo, text string) digest.Digest {
	s.Helper()
	d := digest.FromString(text)
	b, err := s.PutBlob(s.Context(), by(alice), repo, d, chunk(text))
	s.must(err)
	s.wantBlobValue(b, text)
	return d
}

// wantBlobValue checks the digest, which is SHA-256, and the size of a returned blob.
func (s *suite) wantBlobValue(b storage.Blob, text string) {
	s.Helper()
	if b.Digest != digest.FromString(text) || b.Size != int64(len(text)) {
		s.Fatalf("the blob is %+v, want %s of %d bytes", b, digest.FromString(text), len(text))
	}
}

// read returns the bytes of a blob.
func (s *suite) read(b storage.Blob) (string, error) {
	f, err := b.Open(s.Context())
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	return string(text), err
}

// wantBlob checks that a repository has a text as a blob.
func (s *suite) wantBlob(repo, text string) {
	s.Helper()
	b, err := s.Blob(s.Context(), repo, digest.FromString(text))
	s.must(err)
	s.wantBlobValue(b, text)
	if got, err := s.read(b); got != text {
		s.Fatalf("read %.40q and %v, want %.40q", got, err, text)
	}
}

// wantNoBlob checks that a repository does not have a blob.
func (s *suite) wantNoBlob(repo string, d digest.Digest) {
	s.Helper()
	_, err := s.Blob(s.Context(), repo, d)
	s.want(storage.ErrBlobUnknown, err)
}

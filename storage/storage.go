// Package storage is the registry: the rules that bind bytes (package bucket)
// to rows (package meta).
//
// Three ideas carry it. Bytes lie in a bucket under keys that are never reused,
// and rows say everything that is true of them. A commit is one transaction and
// copies no byte: it moves the ownership of keys from an upload to a blob. Every
// object has exactly one row with exactly one owner from before its first byte
// until after its last, so a crash leaves bytes with a row and never a row of a
// blob without its bytes.
//
// What a method acknowledges by returning nil is durable: it survives the death
// of the process and the loss of power. The exception is Append, whose bytes
// survive the process.
//
// The suite storagetest.Run tests what the interfaces promise, of a Registry and of what wraps one.
package storage

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

// Manifests reads and changes the manifests and tags of repositories. The
// caller is who acts, for the history of tags; it grants nothing.
type Manifests interface {
	// Manifest resolves a tag or digest.
	// Errors: ErrManifestUnknown, also for a manifest whose payload is damaged
	// as far as that was noticed.
	Manifest(ctx context.Context, repo string, ref manifest.Reference) (Manifest, error)

	// PutManifest stores m and points tags at it, all or nothing. The condition
	// speaks of each of the tags as it is inside the transaction.
	// Errors: ErrManifestBlobUnknown with up to 20 missing digests as detail,
	// manifest.ErrManifestInvalid when a descriptor's size is not that of what
	// the repository has, ErrPrecondition.
	PutManifest(ctx context.Context, caller, repo string, m *manifest.Manifest, tags []string, cond Condition) error

	// DeleteManifest removes a manifest and every tag that points at it.
	// Errors: ErrManifestUnknown; ErrDenied when an index of the repository
	// lists it.
	DeleteManifest(ctx context.Context, caller, repo string, d digest.Digest) error

	// DeleteTag removes a tag and leaves its manifest.
	// Errors: ErrManifestUnknown, ErrPrecondition.
	DeleteTag(ctx context.Context, caller, repo, tag string, cond Condition) error
}

// Blobs reads and changes the blobs of repositories.
type Blobs interface {
	// Blob says what the repository knows of a digest.
	// Errors: ErrBlobUnknown, also for a blob whose bytes are damaged.
	Blob(ctx context.Context, repo string, d digest.Digest) (Blob, error)

	// DeleteBlob removes a blob from the repository.
	// Errors: ErrBlobUnknown; ErrDenied when a manifest there names it.
	DeleteBlob(ctx context.Context, caller, repo string, d digest.Digest) error

	// Mount makes a blob of the repository from one of repo.
	// Errors: ErrBlobUnknown.
	Mount(ctx context.Context, caller, repo string, d digest.Digest, from string) (Blob, error)

	// BlobRepositories lists at most n repositories that have a blob whole, the oldest first.
	BlobRepositories(ctx context.Context, d digest.Digest, n int) ([]string, error)

	// PutBlob takes a whole blob in one request and leaves no session behind.
	// Errors: manifest.ErrDigestInvalid, ErrSizeInvalid, ErrClientBody, ErrNoSpace,
	// ErrTooManyUploads.
	PutBlob(ctx context.Context, caller Caller, repo string, d digest.Digest, c Chunk) (Blob, error)
}

// Uploads is the life of an upload session, which belongs to the caller that
// opened it. One of another caller or repository is ErrUploadUnknown.
type Uploads interface {
	// CreateUpload opens a session; alg may be empty for sha256.
	// Errors: ErrTooManyUploads, ErrNoSpace.
	CreateUpload(ctx context.Context, caller Caller, repo string, alg digest.Algorithm) (Upload, error)

	// Upload says how far a session has come.
	// Errors: ErrUploadUnknown.
	Upload(ctx context.Context, caller, repo, id string) (Upload, error)

	// Append adds a chunk. After ErrClientBody what arrived is kept and the
	// Upload says how much; after ErrRangeInvalid the Upload says where the
	// next chunk has to start.
	// Errors: ErrUploadUnknown, ErrRangeInvalid, ErrSizeInvalid, ErrClientBody, ErrNoSpace,
	// ErrTooManyUploads.
	Append(ctx context.Context, caller, repo, id string, c Chunk) (Upload, error)

	// Commit adds an optional last chunk and makes the whole a blob of the
	// repository. Repeated with the same digest it succeeds again.
	// Errors: as Append, and manifest.ErrDigestInvalid, which ends the session.
	Commit(ctx context.Context, caller, repo, id string, d digest.Digest, c Chunk) (Blob, error)

	// CancelUpload ends a session and gives up its bytes.
	// Errors: ErrUploadUnknown.
	CancelUpload(ctx context.Context, caller, repo, id string) error
}

// Lists are read page by page: at most n results, which must be at least 1,
// that follow last in byte order. No method reads more than a page into memory.
type Lists interface {
	// Repositories lists those that ever had a manifest, after a name and, unless
	// it is "", before another.
	Repositories(ctx context.Context, after, before string, n int) ([]string, error)

	// ListVersion grows with each repository that gets its first manifest. A
	// repository that is listed stays so.
	ListVersion(ctx context.Context) (int64, error)

	// Listed lists the repositories that came after a version of the list, in the
	// order in which they came, and returns the version with the last of them.
	// There are no more once it returns less than n.
	ListedSince(ctx context.Context, since int64, n int) (repos []string, version int64, err error)

	// Tags lists the tags of a repository.
	// Errors: ErrNameUnknown.
	Tags(ctx context.Context, repo, last string, n int) ([]string, error)

	// ReferrersExtent returns how far an answer goes that lists the referrers after
	// last, in the order of their digests: it has at most n of them, and of their
	// descriptors' JSON, with a comma for each, at most so many bytes. One of them,
	// which has at most manifest.MaxDescriptorSize bytes, is always in it.
	ReferrersExtent(ctx context.Context, q ReferrerQuery, last digest.Digest, n, bytes int) (Extent, error)

	// Referrers returns a page of those of an extent that follow last: it has at
	// most 64 KiB of JSON, or one descriptor. What was deleted meanwhile is left
	// out, what came meanwhile too. An empty page is the end.
	Referrers(ctx context.Context, q ReferrerQuery, last digest.Digest, e Extent) ([]manifest.Descriptor, error)
}

// ReferrerQuery selects the manifests of a repository that have a subject.
type ReferrerQuery struct {
	Repo         string
	Subject      digest.Digest
	ArtifactType string // "" for all
}

// Extent is the part of a list of referrers that one answer has.
type Extent struct {
	End  digest.Digest // of the last descriptor; "" where there are none
	More bool          // others follow

	newest int64
}

// Caller is who brings bytes.
type Caller struct {
	Owner   string // of the session that it opens; "" for nobody in particular
	Charged string // for whom that counts against Options.MaxSessions and Options.MaxInProgress
}

// Upload is an open upload session.
type Upload struct {
	ID        string
	Size      int64 // bytes recorded
	Algorithm digest.Algorithm
}

// Chunk is a request's body on its way into a blob. An error that Body's Read
// returns is the client's: everything else that fails is ours.
type Chunk struct {
	Body   io.Reader // nil for none
	Offset int64     // where the client says that it starts; -1 if it does not
	Length int64     // bytes that the client says it has; -1 if it does not

	// Confirm is asked when the body is complete and its object durable, before anything is
	// recorded of it; nil confirms. Its error is that of the request, whose bytes are then given
	// up. A session stays as it was.
	Confirm func() error

	allowed int64 // bytes that may come before more are asked for
}

// Condition is what a tag has to be for a write to happen (RFC 9110, 13.1).
type Condition struct {
	IfMatch     []digest.Digest // the tag points at one of these
	IfMatchAny  bool            // the tag exists
	IfNoneMatch bool            // the tag does not exist
}

var (
	_ Manifests = (*Registry)(nil)
	_ Blobs     = (*Registry)(nil)
	_ Uploads   = (*Registry)(nil)
	_ Lists     = (*Registry)(nil)
)

// Package storage is the registry: the rules that bind bytes (package bucket) to rows (package
// meta).
//
// It rests on three ideas. Bytes are in a bucket under keys that are never reused, and the rows
// hold everything that is true about them. A commit of an upload is one transaction and copies no
// byte: it moves the ownership of keys from the upload session to the blob. Every object has
// exactly one row with exactly one owner, from before its first byte is written until after its
// last byte is deleted. So a crash may leave bytes that have a row, and never the row of a blob
// without its bytes.
//
// A method that returns nil has made its change durable: the change survives the death of the
// process and the loss of power. The exception is Append, whose bytes survive only the death of the
// process.
//
// The suite storagetest.Run tests what the interfaces promise. Registry passes it, and so must
// every type that wraps a Registry.
package storage

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

// Manifests reads and changes the manifests and tags of repositories. The argument caller is the
// acting identity, which is recorded in the history of tags. It is not checked: the API authorizes
// requests.
type Manifests interface {
	// Manifest resolves a tag or digest.
	// Errors: ErrManifestUnknown, also if the payload is known to be damaged.
	Manifest(ctx context.Context, repo string, ref manifest.Reference) (Manifest, error)

	// PutManifest stores m and points tags at it, all or nothing. Each of the tags has to meet cond
	// inside the transaction.
	// Errors: ErrManifestBlobUnknown with up to 20 missing digests as detail;
	// manifest.ErrManifestInvalid if a descriptor's size is not the size of the content in the
	// repository; ErrPrecondition.
	PutManifest(ctx context.Context, caller, repo string, m *manifest.Manifest, tags []string, cond Condition) error

	// DeleteManifest removes a manifest and every tag that points at it.
	// Errors: ErrManifestUnknown; ErrDenied if an index of the repository lists it.
	DeleteManifest(ctx context.Context, caller, repo string, d digest.Digest) error

	// DeleteTag removes a tag and leaves its manifest.
	// Errors: ErrManifestUnknown, ErrPrecondition.
	DeleteTag(ctx context.Context, caller, repo, tag string, cond Condition) error
}

// Blobs reads and changes the blobs of repositories.
type Blobs interface {
	// Blob returns the blob that a repository has under a digest.
	// Errors: ErrBlobUnknown, also if its bytes are known to be damaged.
	Blob(ctx context.Context, repo string, d digest.Digest) (Blob, error)

	// DeleteBlob removes a blob from the repository.
	// Errors: ErrBlobUnknown; ErrDenied if a manifest of the repository links it.
	DeleteBlob(ctx context.Context, caller, repo string, d digest.Digest) error

	// Mount gives repo a blob that the repository from has.
	// Errors: ErrBlobUnknown.
	Mount(ctx context.Context, caller, repo string, d digest.Digest, from string) (Blob, error)

	// BlobRepositories returns at most n repositories that have a blob, the oldest repository
	// first. No repository has a damaged blob.
	BlobRepositories(ctx context.Context, d digest.Digest, n int) ([]string, error)

	// PutBlob stores a whole blob in one request and leaves no upload session behind.
	// Errors: manifest.ErrDigestInvalid, ErrSizeInvalid, ErrClientBody, ErrNoSpace,
	// ErrTooManyUploads.
	PutBlob(ctx context.Context, caller Caller, repo string, d digest.Digest, c Chunk) (Blob, error)
}

// Uploads manages upload sessions. A session belongs to the repository and the caller that opened
// it: for any other repository or caller the error is ErrUploadUnknown.
type Uploads interface {
	// CreateUpload opens a session. If alg is "", it is sha256.
	// Errors: ErrTooManyUploads, ErrNoSpace.
	CreateUpload(ctx context.Context, caller Caller, repo string, alg digest.Algorithm) (Upload, error)

	// Upload returns the state of a session.
	// Errors: ErrUploadUnknown.
	Upload(ctx context.Context, caller, repo, id string) (Upload, error)

	// Append adds a chunk. With ErrClientBody the bytes that arrived are kept, and the Upload has
	// the new size. With ErrRangeInvalid nothing is kept, and the Upload has the size at which the
	// next chunk has to start.
	// Errors: ErrUploadUnknown, ErrRangeInvalid, ErrSizeInvalid, ErrClientBody, ErrNoSpace,
	// ErrTooManyUploads.
	Append(ctx context.Context, caller, repo, id string, c Chunk) (Upload, error)

	// Commit adds an optional last chunk and makes the bytes of the session a blob of the
	// repository. It succeeds again if it is repeated with the same digest.
	// Errors: as Append, and manifest.ErrDigestInvalid, which ends the session.
	Commit(ctx context.Context, caller, repo, id string, d digest.Digest, c Chunk) (Blob, error)

	// CancelUpload ends a session and releases its bytes.
	// Errors: ErrUploadUnknown.
	CancelUpload(ctx context.Context, caller, repo, id string) error
}

// Lists reads lists page by page. A page has at most n entries, where n is at least 1, in byte
// order after the entry last. No method reads more than a page into memory.
type Lists interface {
	// Repositories returns the repositories that ever had a manifest, by name. The names follow
	// after and, unless before is "", precede before.
	Repositories(ctx context.Context, after, before string, n int) ([]string, error)

	// ListVersion returns the version of the list of repositories. It grows with each repository
	// that gets its first manifest. A listed repository stays listed.
	ListVersion(ctx context.Context) (int64, error)

	// ListedSince returns the repositories that were listed after the version since, in the order
	// in which they were listed, and the version of the list with the last of them. Fewer than n
	// are the end of the list.
	ListedSince(ctx context.Context, since int64, n int) (repos []string, version int64, err error)

	// Tags returns the tags of a repository.
	// Errors: ErrNameUnknown.
	Tags(ctx context.Context, repo, last string, n int) ([]string, error)

	// ReferrersExtent returns the part of the list of referrers after last that fits in one answer.
	// It is in the order of digests. It has at most n descriptors, and their JSON, with a comma for
	// each, has at most so many bytes. The first descriptor always fits: it has at most
	// manifest.MaxDescriptorSize bytes.
	ReferrersExtent(ctx context.Context, q ReferrerQuery, last digest.Digest, n, bytes int) (Extent, error)

	// Referrers returns the page of an extent that follows last. The page has at most 64 KiB of
	// JSON, or one descriptor. Referrers that were added or deleted since the extent was made are
	// left out. An empty page is the end.
	Referrers(ctx context.Context, q ReferrerQuery, last digest.Digest, e Extent) ([]manifest.Descriptor, error)
}

// ReferrerQuery selects referrers of a repository.
type ReferrerQuery struct {
	Repo         string
	Subject      digest.Digest
	ArtifactType string // "" selects every type
}

// Extent is the part of a list of referrers that one answer has.
type Extent struct {
	End  digest.Digest // of the last descriptor; "" if there are none
	More bool          // whether other referrers follow

	newest int64 // referrers that were added later are left out
}

// Caller is the owner of the bytes that a request brings.
type Caller struct {
	Owner   string // of the upload session; "" is a valid owner
	Charged string // the account or network that Options.MaxSessions and MaxInProgress apply to
}

// Upload is an open upload session.
type Upload struct {
	ID        string
	Size      int64 // recorded bytes
	Algorithm digest.Algorithm
}

// Chunk is the body of one request. An error that Body's Read returns is the client's; every other
// failure is the registry's.
type Chunk struct {
	Body   io.Reader // nil if there is none
	Offset int64     // the announced offset in the upload; -1 if none was announced
	Length int64     // the announced length in bytes; -1 if none was announced

	// Confirm is called when the body is complete and its object durable, before the object is
	// recorded. If it returns an error, the method returns that error, the bytes are released, and
	// a session stays as it was. Nil always confirms.
	Confirm func() error

	allowed int64 // bytes that may arrive before the allowance has to be extended
}

// Condition is a condition on a tag, for a write that depends on it (RFC 9110, 13.1).
type Condition struct {
	IfMatch     []digest.Digest // the tag points at one of these; nil for no condition
	IfMatchAny  bool            // the tag exists
	IfNoneMatch bool            // the tag does not exist
}

var (
	_ Manifests = (*Registry)(nil)
	_ Blobs     = (*Registry)(nil)
	_ Uploads   = (*Registry)(nil)
	_ Lists     = (*Registry)(nil)
)

package storage

import (
	"errors"

	"github.com/berth-registry/berth/manifest"
)

// The kinds of errors. Every expected error of this package is a [manifest.Error] that describes
// what happened and wraps one of these kinds or one of package manifest's. Any other error is a
// fault of the registry, and its text is not for clients.
var (
	// ErrNameUnknown: the repository does not exist.
	ErrNameUnknown = errors.New("repository unknown")
	// ErrManifestUnknown: the repository has no such manifest or tag.
	ErrManifestUnknown = errors.New("manifest unknown")
	// ErrBlobUnknown: the repository has no such blob, or its bytes are damaged.
	ErrBlobUnknown = errors.New("blob unknown")
	// ErrManifestBlobUnknown: a manifest links content that the repository does not have.
	ErrManifestBlobUnknown = errors.New("manifest names unknown content")
	// ErrUploadUnknown: the repository has no such upload session, or it ended.
	ErrUploadUnknown = errors.New("upload unknown")
	// ErrUploadInvalid: the session cannot accept the request.
	ErrUploadInvalid = errors.New("upload invalid")
	// ErrRangeInvalid: the chunk does not start at the upload's size.
	ErrRangeInvalid = errors.New("range invalid")
	// ErrSizeInvalid: the body does not have the announced length.
	ErrSizeInvalid = errors.New("size invalid")
	// ErrDenied: a rule of the registry forbids the request to every caller.
	ErrDenied = errors.New("denied")
	// ErrPrecondition: the tag does not meet the request's condition.
	ErrPrecondition = errors.New("precondition failed")
	// ErrNoSpace: the disk is full, or the space that uploads may use is.
	ErrNoSpace = errors.New("no space left")
	// ErrUnavailable: the bucket cannot be read at present.
	ErrUnavailable = errors.New("storage unavailable")
	// ErrTooManyUploads: the caller is at the limit of one caller's uploads in progress.
	ErrTooManyUploads = errors.New("too many uploads in progress")
	// ErrClientBody: the request's body ended early or could not be read.
	ErrClientBody = errors.New("request body interrupted")
)

func errorf(kind error, format string, args ...any) error {
	return manifest.Errorf(kind, format, args...)
}

package storage

import (
	"errors"

	"github.com/berth-registry/berth/manifest"
)

// What a caller may have to tell apart. Every error that a method of this
// package returns on purpose is one of these, or one of package manifest's,
// inside a [manifest.Error] that says what happened; anything else is a fault
// of the store and not for a client's eyes.
var (
	// ErrNameUnknown: the repository does not exist.
	ErrNameUnknown = errors.New("repository unknown")
	// ErrManifestUnknown: the repository has no such manifest or tag.
	ErrManifestUnknown = errors.New("manifest unknown")
	// ErrBlobUnknown: the repository has no such blob, or its bytes are damaged.
	ErrBlobUnknown = errors.New("blob unknown")
	// ErrManifestBlobUnknown: a manifest names content that the repository lacks.
	ErrManifestBlobUnknown = errors.New("manifest names unknown content")
	// ErrUploadUnknown: the repository has no such upload session, or it ended.
	ErrUploadUnknown = errors.New("upload unknown")
	// ErrUploadInvalid: the session cannot take this request.
	ErrUploadInvalid = errors.New("upload invalid")
	// ErrRangeInvalid: the chunk does not start where the upload ends.
	ErrRangeInvalid = errors.New("range invalid")
	// ErrSizeInvalid: the body has another length than was announced.
	ErrSizeInvalid = errors.New("size invalid")
	// ErrDenied: a rule of the registry forbids it to every caller.
	ErrDenied = errors.New("denied")
	// ErrPrecondition: the tag is not what the request's condition says.
	ErrPrecondition = errors.New("precondition failed")
	// ErrNoSpace: the disk is full, or as full as uploads may make it.
	ErrNoSpace = errors.New("no space left")
	// ErrUnavailable: the bucket cannot be reached at present.
	ErrUnavailable = errors.New("storage unavailable")
	// ErrTooManyUploads: the caller has as much in progress as one may have.
	ErrTooManyUploads = errors.New("too many uploads in progress")
	// ErrClientBody: the request's body ended early, stalled or broke.
	ErrClientBody = errors.New("request body interrupted")
)

func errorf(kind error, format string, args ...any) error {
	return manifest.Errorf(kind, format, args...)
}

package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage/bucket"
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
	// ErrNoSpace: the disk is full, or the space that uploads may use is. Every method may return
	// it as the database does, without a manifest.Error.
	ErrNoSpace = db.ErrNoSpace
	// ErrUnavailable: a fault that may pass keeps the bucket or the database from being used. Every
	// method may return it as the database does, without a manifest.Error.
	ErrUnavailable = db.ErrUnavailable
	// ErrTooManyUploads: the caller is at the limit of one caller's uploads in progress.
	ErrTooManyUploads = errors.New("too many uploads in progress")
	// ErrClientBody: the request's body ended early or could not be read.
	ErrClientBody = errors.New("request body interrupted")
)

func errorf(kind error, format string, args ...any) error {
	return manifest.Errorf(kind, format, args...)
}

// spaceError turns the errors for lack of space of bucket and database into an ErrNoSpace.
func spaceError(err error) error {
	if errors.Is(err, bucket.ErrNoSpace) || errors.Is(err, db.ErrNoSpace) {
		return errorf(ErrNoSpace,
			"the registry's disk has too little space or too few inodes left for this: free some, or raise its size")
	}
	return err
}

// bucketError turns an error of the bucket into an ErrNoSpace or an ErrUnavailable. It returns the
// errors of a context and of a malformed key unchanged.
func bucketError(err error) error {
	err = spaceError(err)
	for _, other := range []error{nil, context.Canceled, context.DeadlineExceeded, bucket.ErrKey, ErrNoSpace} {
		if errors.Is(err, other) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", errorf(ErrUnavailable, "the bucket of the registry cannot be used at present"), err)
}

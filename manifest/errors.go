package manifest

import (
	"errors"
	"fmt"
)

// The kinds of errors of this package. Each corresponds to one error code of the distribution spec.
// Compare with errors.Is.
var (
	// ErrNameInvalid: a repository name does not match the grammar (NAME_INVALID).
	ErrNameInvalid = errors.New("invalid repository name")
	// ErrTagInvalid: a tag does not match the grammar (TAG_INVALID).
	ErrTagInvalid = errors.New("invalid tag")
	// ErrDigestInvalid: a digest does not match the grammar, its algorithm is not supported, or it
	// is not the digest of the content (DIGEST_INVALID).
	ErrDigestInvalid = errors.New("invalid digest")
	// ErrManifestInvalid: a manifest is not well-formed (MANIFEST_INVALID).
	ErrManifestInvalid = errors.New("invalid manifest")
	// ErrManifestUnverified: the signature envelope of a signed schema 1 manifest cannot be read
	// (MANIFEST_UNVERIFIED).
	ErrManifestUnverified = errors.New("manifest signature envelope cannot be read")
)

// Error is an error whose text may be sent to the client.
type Error struct {
	// Kind is the sentinel error that determines code and status, from this package or from
	// storage.
	Kind error
	// Message says what was wrong and what was expected.
	Message string
	// Detail is the "detail" of the JSON body; nil for none.
	Detail any
}

// Errorf returns an Error of the given kind without detail.
func Errorf(kind error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Error returns the message. It does not repeat the kind; use errors.Is for that.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

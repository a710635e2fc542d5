package manifest

import (
	"errors"
	"fmt"
)

// The kinds of error of this package; each is one code of the protocol.
// Compare with errors.Is.
var (
	// ErrNameInvalid: a repository name breaks the grammar (NAME_INVALID).
	ErrNameInvalid = errors.New("invalid repository name")
	// ErrTagInvalid: a tag breaks the grammar (TAG_INVALID).
	ErrTagInvalid = errors.New("invalid tag")
	// ErrDigestInvalid: a digest breaks the grammar, its algorithm is not
	// served, or it is not the digest of the content (DIGEST_INVALID).
	ErrDigestInvalid = errors.New("invalid digest")
	// ErrManifestInvalid: a manifest is not well-formed (MANIFEST_INVALID).
	ErrManifestInvalid = errors.New("invalid manifest")
	// ErrManifestUnverified: the signature envelope of a signed schema 1
	// manifest cannot be read (MANIFEST_UNVERIFIED).
	ErrManifestUnverified = errors.New("manifest signature envelope cannot be read")
)

// Error is an error of the protocol that is fit for a client's eyes.
type Error struct {
	// Kind is the sentinel that decides code and status, from this package
	// or from storage.
	Kind error
	// Message says what was wrong and what would be right.
	Message string
	// Detail goes into the JSON body's "detail"; nil for none.
	Detail any
}

// Errorf makes an Error of the given kind without detail.
func Errorf(kind error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Error returns the message alone: the kind speaks through errors.Is.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

package bucket

import (
	"context"
	"errors"
	"time"
)

// ErrCannotSign means that a store signs no URLs, or none at present that lives long enough to be
// of use.
var ErrCannotSign = errors.New("the bucket signs no URLs")

// Signer is a Store that can let others read its objects.
type Signer interface {
	// SignURL returns a URL at which anyone can read the object with GET until it expires. It does
	// not check that the object exists. The URL is a secret, and errors do not contain it. Errors:
	//   - ErrCannotSign
	//   - ErrKey if the key is malformed
	//   - fs.ErrClosed after Close
	//   - other errors of the credentials
	SignURL(ctx context.Context, key string, o SignOptions) (string, error)
}

// SignOptions are the properties of a signed URL.
type SignOptions struct {
	// Expiry is how long the URL is valid. It is shorter if the credentials expire before.
	Expiry time.Duration
	// ContentType and CacheControl are header fields of the store's answers.
	ContentType, CacheControl string
}

// SignURL calls the SignURL of s. The error is ErrCannotSign if s is not a Signer. Wrappers are
// Signers that call it with the Store that they wrap.
func SignURL(ctx context.Context, s Store, key string, o SignOptions) (string, error) {
	signer, ok := s.(Signer)
	if !ok {
		return "", ErrCannotSign
	}
	return signer.SignURL(ctx, key, o)
}

package cloud

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/storage/bucket"
)

// minSignedLife is the shortest life of a signed URL that a client can be expected to use, on a
// clock that is not quite the store's.
const minSignedLife = time.Minute

// signFunc returns a URL with which the object of a name can be read. Its errors are those of the
// SDK, and bucket.ErrCannotSign.
type signFunc func(ctx context.Context, name string, o bucket.SignOptions) (string, error)

// SignURL implements [bucket.Signer].
func (s *Store) SignURL(ctx context.Context, key string, o bucket.SignOptions) (string, error) {
	if err := bucket.CheckKey(key); err != nil {
		return "", err
	}
	if err := s.usable(ctx); err != nil {
		return "", err
	}
	if s.sign == nil || o.Expiry < minSignedLife {
		return "", bucket.ErrCannotSign
	}
	url, err := s.sign(ctx, s.prefix+key, o)
	if err != nil {
		return "", fmt.Errorf("bucket: sign a URL for %s: %w", key, err)
	}
	return url, nil
}

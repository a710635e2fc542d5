package cloud

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berth-registry/berth/storage/bucket"
)

// s3Signer signs URLs of a bucket in S3.
type s3Signer struct {
	client      *s3.PresignClient
	credentials aws.CredentialsProvider
	bucket      string
}

// newS3Signer returns a signer for the public endpoint of l, or the host of all other requests.
func newS3Signer(cfg aws.Config, l bucket.Location) *s3Signer {
	if l.PublicEndpoint != "" {
		l.Endpoint = l.PublicEndpoint
	}
	client := s3.NewFromConfig(cfg, s3Options(l), func(o *s3.Options) {
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired // clients compare the digest
	})
	return &s3Signer{s3.NewPresignClient(client), cfg.Credentials, l.Bucket}
}

// sign implements signFunc. It sends a request only if the credentials have to be renewed.
func (s *s3Signer) sign(ctx context.Context, name string, o bucket.SignOptions) (string, error) {
	expiry, err := s.limitExpiry(ctx, o.Expiry)
	if err != nil {
		return "", err
	}
	signed, err := s.client.PresignGetObject(ctx, &s3.GetObjectInput{
		Bucket: &s.bucket, Key: &name,
		ResponseContentType: aws.String(o.ContentType), ResponseCacheControl: aws.String(o.CacheControl),
	}, s3.WithPresignExpires(expiry))
	if err != nil {
		return "", err
	}
	return signed.URL, nil
}

// limitExpiry returns the expiry of a URL that is signed now. A store refuses the URL from the end
// of the credentials on, whatever expiry it has.
func (s *s3Signer) limitExpiry(ctx context.Context, expiry time.Duration) (time.Duration, error) {
	credentials, err := s.credentials.Retrieve(ctx)
	if err != nil {
		return 0, err
	}
	if credentials.CanExpire {
		left := time.Until(credentials.Expires) - time.Second // signatures have whole seconds
		expiry = min(expiry, left)
	}
	if expiry < minSignedLife {
		return 0, bucket.ErrCannotSign
	}
	return expiry, nil
}

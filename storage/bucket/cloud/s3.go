package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"gocloud.dev/blob/s3blob"

	"github.com/berth-registry/berth/storage/bucket"
)

// maxRemoved is the number of objects that S3 deletes with one request.
const maxRemoved = 1000

// openS3 opens a bucket of S3 or of a compatible store. It finds credentials as the SDK does, and
// sends no other request.
func openS3(ctx context.Context, l bucket.Location) (*Store, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(l.Region), config.WithHTTPClient(s3HTTP()))
	if err != nil {
		return nil, fmt.Errorf("the configuration for S3: %w", err)
	}
	if cfg.RetryMaxAttempts == 0 { // AWS_MAX_ATTEMPTS is not set
		cfg.RetryMaxAttempts = maxAttempts
	}
	if cfg.Region == "" && l.Endpoint != "" {
		cfg.Region = "us-east-1" // signatures need one; other stores ignore it
	}
	if cfg.Region == "" {
		return nil, errors.New("no region: add ?region=… to the URL, or set AWS_REGION")
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf(
			"no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine or "+
				"pod a role: %w",
			err)
	}
	client := s3.NewFromConfig(cfg, s3Options(l))
	blobs, err := s3blob.OpenBucket(ctx, client, l.Bucket, nil)
	if err != nil {
		return nil, err
	}
	return &Store{
		blobs: blobs, service: &s3Service{client, l.Bucket}, traits: traits{parallel: true, maxParts: 10_000},
		sign: newS3Signer(cfg, l).sign, Credentials: credentials.Source,
	}, nil
}

// s3HTTP returns a client that keeps as many connections as there are requests.
func s3HTTP() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(tune)
}

// s3Options returns the options of a client. Stores other than AWS take the bucket's name in the
// path, and checksums only where the protocol requires one. Over HTTPS the body is not signed: that
// would hash it once more.
func s3Options(l bucket.Location) func(*s3.Options) {
	return func(o *s3.Options) {
		o.UseAccelerate = l.Accelerate
		o.DisableLogOutputChecksumValidationSkipped = true // ranges have no checksum
		if l.Endpoint == "" {
			return
		}
		// versitygw refuses a PUT so while a request deletes the last object of its directory.
		o.Retryer = retry.AddWithErrorCodes(o.Retryer, "ExistingObjectIsDirectory")
		o.BaseEndpoint = aws.String(l.Endpoint)
		o.UsePathStyle = true
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		if strings.HasPrefix(l.Endpoint, "https:") {
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		}
	}
}

// s3Service implements service on S3.
type s3Service struct {
	client *s3.Client
	bucket string
}

func (s *s3Service) put(ctx context.Context, name string, body []byte, onlyNew bool) error {
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &name, Body: bytes.NewReader(body),
		ContentLength: aws.Int64(int64(len(body))), ContentType: aws.String(contentType),
	}
	if onlyNew {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := s.client.PutObject(ctx, in)
	if onlyNew && status(err) == http.StatusNotImplemented {
		in.Body = bytes.NewReader(body) // the first request has read it
		return s.putUnlessThere(ctx, in)
	}
	return writeError(err, onlyNew)
}

// putUnlessThere writes an object in a store that knows no conditions. The caller reads it back.
func (s *s3Service) putUnlessThere(ctx context.Context, in *s3.PutObjectInput) error {
	_, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: in.Bucket, Key: in.Key})
	switch {
	case err == nil:
		return fs.ErrExist
	case !isNotExist(err):
		return err
	}
	in.IfNoneMatch = nil
	_, err = s.client.PutObject(ctx, in)
	return writeError(err, false)
}

// remove asks for one answer a batch, with the failures only. No HEAD comes before it, as gocloud's
// Delete sends one.
func (s *s3Service) remove(ctx context.Context, names []string) error {
	var errs []error
	for batch := range slices.Chunk(names, maxRemoved) {
		errs = append(errs, s.removeBatch(ctx, batch))
	}
	return errors.Join(errs...)
}

func (s *s3Service) removeBatch(ctx context.Context, names []string) error {
	objects := make([]types.ObjectIdentifier, len(names))
	for i, name := range names {
		objects[i].Key = aws.String(name)
	}
	out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &s.bucket, Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
	}, withContentMD5)
	if err != nil {
		return err
	}
	var errs []error
	for _, failed := range out.Errors {
		if c := aws.ToString(failed.Code); c != "NoSuchKey" {
			errs = append(errs, fmt.Errorf("%s: %s: %s", aws.ToString(failed.Key), c, aws.ToString(failed.Message)))
		}
	}
	return errors.Join(errs...)
}

// withContentMD5 adds the checksum that older stores require of this request alone.
func withContentMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, smithyhttp.AddContentChecksumMiddleware)
}

func listUploads(s *s3Service, name string) *s3.ListMultipartUploadsInput {
	return &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &name}
}

// removeParts aborts the uploads of exactly this name: MinIO lists none for a prefix.
func (s *s3Service) removeParts(ctx context.Context, name string) error {
	pages := s3.NewListMultipartUploadsPaginator(s.client, listUploads(s, name))
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			if aws.ToString(u.Key) != name {
				continue
			}
			if err := (&s3Parts{s3Service: s, name: name, id: u.UploadId}).abort(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

package cloud

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"

	"github.com/berth-registry/berth/storage/bucket"
)

// status returns the HTTP status that an SDK reports with an error, or 0.
func status(err error) int {
	if s3, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return s3.HTTPStatusCode()
	}
	if azure, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return azure.StatusCode
	}
	if google, ok := errors.AsType[*googleapi.Error](err); ok {
		return google.Code
	}
	return 0
}

// code returns the code that a store gave with an error, or "".
func code(err error) string {
	if s3, ok := errors.AsType[smithy.APIError](err); ok {
		return s3.ErrorCode()
	}
	if azure, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return azure.ErrorCode
	}
	return ""
}

// isNoBucket reports whether err means that there is no such bucket or container.
func isNoBucket(err error) bool {
	c := code(err)
	return c == "NoSuchBucket" || c == "ContainerNotFound"
}

// isNotExist reports whether err means that there is no such object.
func isNotExist(err error) bool {
	switch {
	case isNoBucket(err):
		return false
	case status(err) != 0:
		return status(err) == http.StatusNotFound
	}
	return errors.Is(err, fs.ErrNotExist) || gcerrors.Code(err) == gcerrors.NotFound
}

// readError returns the error of a Get with its kind. A refused request is no proof that the object
// is missing: S3 also refuses requests for missing ones.
func readError(err error) error {
	switch {
	case isNotExist(err):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case status(err) == http.StatusForbidden:
		return fmt.Errorf("%w: %w", bucket.ErrUnreadable, err)
	case status(err) == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: %w", bucket.ErrSize, err)
	}
	return err
}

// writeError returns the error of a write with its kind.
func writeError(err error, onlyNew bool) error {
	c := code(err)
	switch s := status(err); {
	case err == nil:
		return nil
	case onlyNew && (s == http.StatusPreconditionFailed || s == http.StatusConflict):
		return fmt.Errorf("%w: %w", fs.ErrExist, err)
	case c == "QuotaExceeded" || c == "InsufficientCapacity" || s == http.StatusInsufficientStorage:
		return fmt.Errorf("%w: %w", bucket.ErrNoSpace, err)
	}
	return err
}

package cloud

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"

	"github.com/berth-registry/berth/storage/bucket"
)

// chunkUnit is what the size of a chunk of an upload to GCS is a multiple of.
const chunkUnit = 256 << 10

// openGCS opens a bucket of Google Cloud Storage. It finds credentials as the SDK does, and sends
// no other request.
func openGCS(ctx context.Context, l bucket.Location) (*Store, error) {
	client, o, source, err := gcsClient(ctx, l)
	if err != nil {
		return nil, err
	}
	if l.Endpoint != "" {
		o.ClientOptions = append(o.ClientOptions, option.WithEndpoint(l.Endpoint+"/storage/v1/"))
	}
	blobs, err := gcsblob.OpenBucket(ctx, client, l.Bucket, o)
	if err != nil {
		return nil, err
	}
	return &Store{
		blobs: blobs, service: gcsService{blobs}, traits: traits{ownUnits: 1}, Credentials: source, sign: gcsSigner(l, o),
	}, nil
}

// gcsClient returns a client with credentials, and what is needed to sign URLs, if the credentials
// have a private key. A plain http endpoint is an emulator, which gets no credentials.
func gcsClient(ctx context.Context, l bucket.Location) (
	client *gcp.HTTPClient, o *gcsblob.Options, source string, err error,
) {
	transport := newTransport()
	if strings.HasPrefix(l.Endpoint, "http:") {
		return gcp.NewAnonymousHTTPClient(transport), &gcsblob.Options{}, "none", nil
	}
	credentials, err := google.FindDefaultCredentials(ctx, storage.ScopeReadWrite)
	if err != nil {
		return nil, nil, "", fmt.Errorf(
			"no credentials for Google Cloud Storage: "+
				"set GOOGLE_APPLICATION_CREDENTIALS, or give this machine or pod a service account: %w",
			err)
	}
	o, source = &gcsblob.Options{}, "metadata server"
	if len(credentials.JSON) > 0 {
		source = "file"
	}
	if key, err := google.JWTConfigFromJSON(credentials.JSON); err == nil {
		o.GoogleAccessID, o.PrivateKey = key.Email, key.PrivateKey
	}
	client, err = gcp.NewHTTPClient(transport, credentials.TokenSource)
	return client, o, source, err
}

// gcsService implements service on Google Cloud Storage.
type gcsService struct{ blobs *blob.Bucket }

// put sends one request, since the chunk is larger than the body.
func (s gcsService) put(ctx context.Context, name string, body []byte, onlyNew bool) error {
	p, err := s.start(ctx, name, (len(body)/chunkUnit+1)*chunkUnit, onlyNew)
	if err != nil {
		return err
	}
	if err := p.write(ctx, 0, body); err != nil {
		_ = p.abort(ctx)
		return writeError(err, onlyNew)
	}
	return writeError(p.complete(ctx), onlyNew)
}

func (s gcsService) startParts(ctx context.Context, name string) (parts, error) {
	return s.start(ctx, name, partSize, false)
}

// start begins an object that is sent in chunks, each of which the SDK keeps until it has arrived.
// All requests are repeated after errors that may pass: keys are never reused.
func (s gcsService) start(ctx context.Context, name string, chunk int, onlyNew bool) (parts, error) {
	return startWriter(ctx, s.blobs, name, &blob.WriterOptions{
		ContentType: contentType, BufferSize: chunk, IfNotExist: onlyNew,
		BeforeWrite: func(as func(any) bool) error {
			var object **storage.ObjectHandle
			if as(&object) {
				*object = (*object).Retryer(storage.WithPolicy(storage.RetryAlways), storage.WithMaxAttempts(maxAttempts))
			}
			return nil
		},
	})
}

func (s gcsService) remove(ctx context.Context, names []string) error {
	return removeEach(ctx, s.blobs, names)
}

// removeParts does nothing: GCS drops an upload that was not completed after a week, and bills
// none.
func (gcsService) removeParts(context.Context, string) error { return nil }

// newTransport returns the transport of a client whose SDK has none of its own.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	tune(t)
	return t
}

package cloud

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"gocloud.dev/blob/gcsblob"

	"github.com/berth-registry/berth/storage/bucket"
)

// gcsSigner returns a signFunc with the private key of a service account, or nil without one.
func gcsSigner(l bucket.Location, key *gcsblob.Options) signFunc {
	if len(key.PrivateKey) == 0 {
		return nil
	}
	host := ""
	if u, err := url.Parse(l.Endpoint); err == nil {
		host = u.Host
	}
	return func(_ context.Context, name string, o bucket.SignOptions) (string, error) {
		return storage.SignedURL(l.Bucket, name, &storage.SignedURLOptions{
			Scheme: storage.SigningSchemeV4, Method: http.MethodGet, Expires: time.Now().Add(o.Expiry), Hostname: host,
			GoogleAccessID: key.GoogleAccessID, PrivateKey: key.PrivateKey,
			QueryParameters: url.Values{"response-content-type": {o.ContentType}, "response-cache-control": {o.CacheControl}},
		})
	}
}

// azureSigner returns a signFunc with the key of the account, or nil without one.
func azureSigner(client *container.Client, key *container.SharedKeyCredential, name string) signFunc {
	if key == nil {
		return nil
	}
	return func(_ context.Context, blob string, o bucket.SignOptions) (string, error) {
		read := sas.BlobPermissions{Read: true}
		query, err := sas.BlobSignatureValues{
			ContainerName: name, BlobName: blob, Permissions: read.String(), ExpiryTime: time.Now().UTC().Add(o.Expiry),
			ContentType: o.ContentType, CacheControl: o.CacheControl,
		}.SignWithSharedKey(key)
		if err != nil {
			return "", err
		}
		return client.NewBlobClient(blob).URL() + "?" + query.Encode(), nil
	}
}

package cloud

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	gocloud "gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"

	"github.com/berth-registry/berth/storage/bucket"
)

// openAzure opens a container of Azure Blob Storage. It sends no request. The client is made here:
// gocloud's refuses the names of private clouds.
func openAzure(ctx context.Context, l bucket.Location) (*Store, error) {
	account := os.Getenv("AZURE_STORAGE_ACCOUNT")
	if l.Endpoint == "" {
		if account == "" {
			return nil, errors.New(
				"no account of Azure: set AZURE_STORAGE_ACCOUNT, or add " +
					"?endpoint=https://ACCOUNT.blob.core.windows.net to the URL")
		}
		l.Endpoint = "https://" + account + ".blob.core.windows.net"
	}
	client, key, source, err := azureClient(l.Endpoint+"/"+l.Bucket, account)
	if err != nil {
		return nil, err
	}
	blobs, err := azureblob.OpenBucket(ctx, client, nil)
	if err != nil {
		return nil, err
	}
	return &Store{
		blobs: blobs, service: azureService{client, blobs}, traits: traits{parallel: true, maxParts: 50_000},
		sign: azureSigner(client, key, l.Bucket), Credentials: source,
	}, nil
}

// azureClient returns a client with the key of the account, if there is one, or else with what the
// SDK finds. key is nil without one.
func azureClient(url, account string) (
	client *container.Client, key *container.SharedKeyCredential, source string, err error,
) {
	o := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: &http.Client{Transport: newTransport()}, Retry: policy.RetryOptions{MaxRetries: maxAttempts - 1},
	}}
	if text := os.Getenv("AZURE_STORAGE_KEY"); text != "" && account != "" {
		if key, err = container.NewSharedKeyCredential(account, text); err != nil {
			return nil, nil, "", errors.New("AZURE_STORAGE_KEY is not base64")
		}
		client, err = container.NewClientWithSharedKeyCredential(url, key, o)
		return client, key, "AZURE_STORAGE_KEY", err
	}
	token, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, nil, "", fmt.Errorf(
			"no credentials for Azure: set AZURE_STORAGE_KEY and AZURE_STORAGE_ACCOUNT, or give this machine "+
				"or pod an identity: %w",
			err)
	}
	client, err = container.NewClient(url, token, o)
	return client, nil, "DefaultAzureCredential", err
}

// azureService implements service on Azure Blob Storage.
type azureService struct {
	client *container.Client
	blobs  *gocloud.Bucket
}

func (s azureService) put(ctx context.Context, name string, body []byte, onlyNew bool) error {
	o := &blockblob.UploadOptions{HTTPHeaders: &blob.HTTPHeaders{BlobContentType: &binary}}
	if onlyNew {
		anyETag := azcore.ETagAny
		o.AccessConditions = &blob.AccessConditions{
			ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &anyETag},
		}
	}
	_, err := s.client.NewBlockBlobClient(name).Upload(ctx, streaming.NopCloser(bytes.NewReader(body)), o)
	return writeError(err, onlyNew)
}

// binary is contentType, of which the SDK wants the address.
var binary = contentType

func (s azureService) startParts(_ context.Context, name string) (parts, error) {
	return &azureParts{blob: s.client.NewBlockBlobClient(name)}, nil
}

func (s azureService) remove(ctx context.Context, names []string) error {
	return removeEach(ctx, s.blobs, names)
}

// removeParts does nothing: Azure drops blocks that were not committed after a week, and has no
// request that drops them.
func (azureService) removeParts(context.Context, string) error { return nil }

// azureParts implements parts as the blocks of a block blob.
type azureParts struct {
	blob *blockblob.Client

	mu     sync.Mutex // guards blocks
	blocks int        // the number of blocks
}

// blockID returns the id of a block. All ids of a blob have the same length.
func blockID(number int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08d", number))
}

func (p *azureParts) write(ctx context.Context, number int, body []byte) error {
	_, err := p.blob.StageBlock(ctx, blockID(number), streaming.NopCloser(bytes.NewReader(body)), nil)
	if err != nil {
		return writeError(err, false)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocks++
	return nil
}

func (p *azureParts) complete(ctx context.Context) error {
	ids := make([]string, p.blocks)
	for i := range ids {
		ids[i] = blockID(i)
	}
	o := &blockblob.CommitBlockListOptions{HTTPHeaders: &blob.HTTPHeaders{BlobContentType: &binary}}
	_, err := p.blob.CommitBlockList(ctx, ids, o)
	return writeError(err, false)
}

// abort does nothing, as removeParts.
func (*azureParts) abort(context.Context) error { return nil }

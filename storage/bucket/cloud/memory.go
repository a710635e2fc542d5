package cloud

import (
	"context"
	"errors"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/storage/bucket"
)

// contentType is that of all objects: what a blob is, only its manifest says.
const contentType = "application/octet-stream"

// OpenMemory returns a new and empty bucket in memory, for tests and demonstrations.
func OpenMemory(o bucket.Options) *Store {
	blobs := memblob.OpenBucket(&memblob.Options{NoMD5: true})
	return &Store{
		blobs: blobs, service: memory{blobs}, pool: newPool(o), buffers: bucket.NewBuffers(o),
	}
}

// memory implements service on gocloud.
type memory struct{ blobs *blob.Bucket }

func (m memory) put(ctx context.Context, name string, body []byte, onlyNew bool) error {
	p, err := m.start(ctx, name, onlyNew)
	if err != nil {
		return err
	}
	if err := p.write(ctx, 0, body); err != nil {
		return errors.Join(err, p.abort(ctx))
	}
	return p.complete(ctx)
}

func (m memory) startParts(ctx context.Context, name string) (parts, error) {
	return m.start(ctx, name, false)
}

func (m memory) start(ctx context.Context, name string, onlyNew bool) (parts, error) {
	return startWriter(ctx, m.blobs, name, &blob.WriterOptions{ContentType: contentType, IfNotExist: onlyNew})
}

func (m memory) remove(ctx context.Context, names []string) error {
	return removeEach(ctx, m.blobs, names)
}

// removeParts does nothing: the parts end with the writer.
func (memory) removeParts(context.Context, string) error { return nil }

// maxRemoving is the number of objects that removeEach deletes at once.
const maxRemoving = 16

// removeEach deletes objects with gocloud, one request for each.
func removeEach(ctx context.Context, blobs *blob.Bucket, names []string) error {
	errs := make([]error, len(names))
	var g errgroup.Group
	g.SetLimit(maxRemoving)
	for i, name := range names {
		g.Go(func() error {
			if errs[i] = blobs.Delete(ctx, name); isNotExist(errs[i]) {
				errs[i] = nil
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// writerParts implements parts with a writer of gocloud, one after the other.
type writerParts struct {
	w       *blob.Writer
	discard func() // ends the writer's context; before Close, it discards the object
}

func startWriter(ctx context.Context, blobs *blob.Bucket, name string, o *blob.WriterOptions) (parts, error) {
	ctx, discard := context.WithCancel(ctx)
	w, err := blobs.NewWriter(ctx, name, o)
	if err != nil {
		discard()
		return nil, err
	}
	return &writerParts{w, discard}, nil
}

func (p *writerParts) write(_ context.Context, _ int, body []byte) error {
	_, err := p.w.Write(body)
	return err
}

func (p *writerParts) complete(context.Context) error {
	defer p.discard()
	return p.w.Close()
}

// abort ends the context first: Close alone would commit what was written.
func (p *writerParts) abort(context.Context) error {
	p.discard()
	_ = p.w.Close() // its error only says that the object was discarded
	return nil
}

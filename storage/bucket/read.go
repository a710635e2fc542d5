package bucket

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"time"

	"gocloud.dev/blob"
)

// Get opens the object of that key for reading; the caller closes it. On file:// it is an *os.File. An object that is
// deleted meanwhile stays readable to the end. Errors:
//   - fs.ErrNotExist when there is none
//   - ErrKey for a key of another shape
//   - fs.ErrClosed after Close
func (b *Bucket) Get(ctx context.Context, key string) (r io.ReadSeekCloser, err error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	start := time.Now()
	if err = b.fault("read", key); err == nil {
		r, err = b.open(ctx, key)
	}
	if isNotExist(err) {
		b.metrics.get.observe(time.Since(start), nil)
		return nil, &fs.PathError{Op: "get", Path: key, Err: fs.ErrNotExist}
	}
	b.metrics.get.observe(time.Since(start), err)
	if err != nil {
		return nil, fmt.Errorf("bucket: get %s: %w", key, err)
	}
	return r, nil
}

func (b *Bucket) open(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	if b.root != "" {
		// Past gocloud, which costs 9 µs more (a stat, a look for a side file, a span). Also its reader, from which
		// BeforeRead would give the file, wants to be closed itself, and logs a leak when only the file is. Keys have
		// no character that fileblob escapes.
		return os.Open(b.filePath(key))
	}
	content, err := b.blobs.ReadAll(ctx, key)
	if err != nil {
		return nil, err
	}
	return memory{bytes.NewReader(content)}, nil
}

// memory is an open object of mem://.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// Keys yields every key in byte order, for checks of the whole bucket: it costs as much as the bucket is large. An error
// ends it. Objects that come or go meanwhile may or may not be among them; temporary files and foreign ones are not.
func (b *Bucket) Keys(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for dir := range directories {
			keys, err := b.keysOf(ctx, dir)
			if err != nil {
				yield("", fmt.Errorf("bucket: keys of %s: %w", dir, err))
				return
			}
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
			}
		}
	}
}

// keysOf returns the keys in one of the directories, sorted. (Not through gocloud on file://, whose lists walk the whole
// tree and go wrong over names with a "-".)
func (b *Bucket) keysOf(ctx context.Context, dir string) (keys []string, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	if b.root == "" {
		return b.listMemory(ctx, dir)
	}
	entries, err := os.ReadDir(b.filePath(dir))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if key := path.Join(dir, e.Name()); e.Type().IsRegular() && checkKey(key) == nil {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func (b *Bucket) listMemory(ctx context.Context, dir string) (keys []string, err error) {
	prefix := dir + "/"
	if dir == "." {
		prefix = Marker
	}
	list := b.blobs.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := list.Next(ctx)
		if err == io.EOF {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, o.Key)
	}
}

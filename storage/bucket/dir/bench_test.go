package dir

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

func benchStore(b *testing.B) (*Store, bucket.Store) {
	s := openDir(b, b.TempDir(), bucket.Options{})
	return s, bucket.Instrument(bucket.LimitSpace(s, 1, s.root))
}

// BenchmarkPut compares Put with a floor, the minimum that a durable write must do.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int64{1 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dKiB/put", size>>10), func(b *testing.B) {
			files, store := benchStore(b)
			b.SetBytes(size)
			for i := 0; b.Loop(); i++ {
				key := fmt.Sprintf("content/%02x/b-%d", i%256, i%1000)
				os.Remove(files.path(key)) // as the floor's rename does
				if _, err := store.Put(b.Context(), key, io.LimitReader(buckettest.Endless{}, size), sha256.New()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%dKiB/floor", size>>10), func(b *testing.B) {
			dir := b.TempDir()
			d, err := os.Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			b.SetBytes(size)
			for i := 0; b.Loop(); i++ {
				if err := plainPut(dir, fmt.Sprint("b-", i%1000), io.LimitReader(buckettest.Endless{}, size)); err != nil {
					b.Fatal(err)
				}
				if err := d.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func plainPut(dir, name string, src io.Reader) error {
	f, err := os.Create(filepath.Join(dir, name+".tmp"))
	if err != nil {
		return err
	}
	defer f.Close()
	sum, buf := sha256.New(), make([]byte, defaultBuffer)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(sum, f)}, src, buf); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

func BenchmarkGet(b *testing.B) {
	files, store := benchStore(b)
	if _, err := store.Put(b.Context(), testKey, io.LimitReader(buckettest.Endless{}, 100), io.Discard); err != nil {
		b.Fatal(err)
	}
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			r, err := store.Get(b.Context(), testKey, 0, bucket.UnknownSize)
			if err != nil {
				b.Fatal(err)
			}
			r.Close()
		}
	})
	b.Run("os.Open", func(b *testing.B) {
		for b.Loop() {
			f, err := os.Open(filepath.Join(files.root, filepath.FromSlash(testKey)))
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
}

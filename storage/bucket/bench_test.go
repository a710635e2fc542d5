package bucket

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func benchBucket(b *testing.B) *Bucket {
	u, err := FileURL(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	bucket, err := Open(b.Context(), u, Options{MinFree: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { bucket.Close() })
	return bucket
}

// Against the least that a durable write can do.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int64{1 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dKiB/put", size>>10), func(b *testing.B) {
			bucket := benchBucket(b)
			b.SetBytes(size)
			for i := 0; b.Loop(); i++ {
				key := fmt.Sprintf("content/%02x/b-%d", i%256, i%1000)
				if _, err := bucket.Put(b.Context(), key, io.LimitReader(endless{}, size), sha256.New()); err != nil {
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
				if err := plainPut(dir, fmt.Sprint("b-", i%1000), io.LimitReader(endless{}, size)); err != nil {
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
	bucket := benchBucket(b)
	if _, err := bucket.Put(b.Context(), testKey, io.LimitReader(endless{}, 100), io.Discard); err != nil {
		b.Fatal(err)
	}
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			r, err := bucket.Get(b.Context(), testKey)
			if err != nil {
				b.Fatal(err)
			}
			r.Close()
		}
	})
	b.Run("os.Open", func(b *testing.B) {
		for b.Loop() {
			f, err := os.Open(filepath.Join(bucket.root, filepath.FromSlash(testKey)))
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
}
